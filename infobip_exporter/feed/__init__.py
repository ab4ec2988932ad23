"""The poll loop of one feed: one channel's log of one account."""

from infobip_exporter.feed.feed import Feed

__all__ = ["Feed"]
