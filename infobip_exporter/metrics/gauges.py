"""What is worked out from a feed's snapshot at the moment of looking: the gauges without further labels, and the lag."""

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Family
from infobip_exporter.metrics.snapshot import FeedSnapshot


def lag_s(feed: FeedSnapshot, now_s: float) -> float | None:
    """Seconds from the moment up to which all has been read to `now_s` (our wall clock), by the API's clock.

    Never below 0; None before anything has been read.
    """
    if feed.read_up_to_ms is None:
        return None
    return max(0.0, now_s + (feed.clock_skew_s or 0.0) - feed.read_up_to_ms / 1000)


def gauges(feed: FeedSnapshot, now_s: float) -> dict[Family, float | None]:
    """The value of each gauge that a feed has once; None where there is nothing to show yet."""
    return {
        catalog.OLDEST_IN_FLIGHT: _seconds(feed.oldest_in_flight_ms),
        catalog.LAST_SENT: _seconds(feed.last_sent_ms),
        catalog.UP: None if feed.up is None else int(feed.up),
        catalog.LAST_SUCCESS: feed.last_success_s,
        catalog.LAG: lag_s(feed, now_s),
        catalog.BACKLOG: feed.backlog_ms / 1000,
        catalog.REQUEST_LIMIT: feed.requests_per_minute,
        catalog.CLOCK_SKEW: feed.clock_skew_s,
        catalog.FINAL_AGE: feed.final_age_s,
        catalog.AUDIT_VERIFIED: _seconds(feed.verified_up_to_ms),
        catalog.FEED_INFO: 1,
    }


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
