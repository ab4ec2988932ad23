"""How a feed is, in a word."""

from typing import NamedTuple

from infobip_exporter.metrics.snapshot import FeedSnapshot

CATCHING_UP_MS = 60_000
"""Sent time still to be read from which a feed is catching up; less is what each poll finds, in milliseconds."""


class FeedState(NamedTuple):
    """`word` for a person, `tone` for the style sheet; `needs_a_look` when someone should see to it."""

    word: str
    tone: str
    needs_a_look: bool = False


READING = FeedState("reading", "good")
CATCHING_UP = FeedState("catching up", "busy")
WAITING = FeedState("waiting for the first answer", "calm")
REFUSED = FeedState("refused", "bad", needs_a_look=True)
FAILING = FeedState("failing", "warn", needs_a_look=True)


def feed_state(feed: FeedSnapshot) -> FeedState:
    """The state of `feed`: what keeps it from reading first."""
    if feed.incident is not None:
        return REFUSED if feed.incident.refused else FAILING
    if feed.up is None:
        return WAITING
    if not feed.up:
        return FAILING
    return CATCHING_UP if feed.backlog_ms >= CATCHING_UP_MS else READING
