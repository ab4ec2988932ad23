"""How far a feed has come, as its ledger keeps it."""

import msgspec

from infobip_exporter.infobip.rate_limit import Kept
from infobip_exporter.model.time_range import TimeRange, TimeRanges


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Moments ending in `_ms` are the API's clock, in milliseconds.

    `begin_ms` is the sent time from which on messages are counted; it was `first_ms` when the feed began, and follows
    what leaves the log. The watermark is the time up to which the feed has
    advanced: between these two all time is in a cell, unread or lost. `requests` are those of the last minute.
    `settling` are the bins of the distribution of settling times. `statuses` gives general statuses their numbers.
    `lateness_ms` are moments and how late a record was found to have turned up then; `missed_ms` is when the audit last
    found a message that was never counted. `skew_s` is the API's clock less ours. `filters` tells whether the
    account's filters have changed.
    """

    begin_ms: int | None = None
    first_ms: int = 0
    watermark_ms: int = 0
    unread: TimeRanges = TimeRanges()
    last_sent_ms: int | None = None
    last_success_s: float | None = None
    requests: Kept | None = None
    settling: tuple[float, ...] = ()
    statuses: tuple[str, ...] = ()
    lateness_ms: tuple[tuple[int, int], ...] = ()
    missed_ms: int | None = None
    skew_s: float = 0.0
    filters: str = ""

    @property
    def read_up_to_ms(self) -> int | None:
        """The moment up to which everything has been read at least once."""
        if self.begin_ms is None:
            return None
        return self.unread.ranges[0].since_ms if self.unread else self.watermark_ms


def _to_plain(value: object) -> object:
    if isinstance(value, TimeRanges):
        return [list(each) for each in value]
    raise TypeError(f"no way to write {type(value)}")


def _from_plain(kind: type, value: object) -> object:
    if kind is TimeRanges and isinstance(value, list):
        return TimeRanges(TimeRange(int(since), int(until)) for since, until in value)
    raise TypeError(f"no way to read {kind}")


def encode(progress: Progress) -> bytes:
    return msgspec.json.encode(progress, enc_hook=_to_plain)


def decode(data: bytes) -> Progress:
    """What `encode` wrote; that of a new feed where nothing is written yet. Raises msgspec's errors."""
    return msgspec.json.decode(data or b"{}", type=Progress, dec_hook=_from_plain)
