"""How far a feed has come: which sent time is read, which is not, and what was learnt of the API on the way."""

import msgspec

from infobip_exporter.reading.dialogue import Takes
from infobip_exporter.reading.spans import SpanSet


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a feed's ledger that says how far it has read. Moments are milliseconds by the API's clock.

    Every moment of sent time since the feed began is in exactly one of these states:
    - from `frontier_ms` on: not reached yet (the API's future);
    - in `unread`: never read;
    - in `open`: read, but so soon after sending that records may still turn up; to be read once more;
    - else closed: read for good, or told as lost.

    `dated` is whether answers have told the API's time, so that they can be expected to.
    `looked_ms` holds for each rung of the ladder of looks (`Outlook.ladder`) the sent time up to which the messages in
    flight have been looked at. `request_times_ms` are the wall-clock times of the requests of the last minute and of
    one that may have been under way when the process ended.
    """

    frontier_ms: int | None = None
    unread: SpanSet = SpanSet()
    open: SpanSet = SpanSet()
    looked_ms: dict[int, int] = {}
    dated: bool = False
    takes: Takes = Takes.UNKNOWN
    last_sent_ms: int | None = None
    last_success_s: float | None = None
    request_times_ms: tuple[int, ...] = ()

    @property
    def read_up_to_ms(self) -> int | None:
        """The moment up to which everything has been read at least once."""
        return self.unread.spans[0].since_ms if self.unread else self.frontier_ms


def _to_plain(value: object) -> object:
    if isinstance(value, SpanSet):
        return [list(span) for span in value]
    raise TypeError(f"no way to write {type(value)}")


def _from_plain(kind: type, value: object) -> object:
    if kind is SpanSet and isinstance(value, list):
        return SpanSet((int(since), int(until)) for since, until in value)
    raise TypeError(f"no way to read {kind}")


def encode(progress: Progress) -> bytes:
    return msgspec.json.encode(progress, enc_hook=_to_plain)


def decode(data: bytes) -> Progress:
    return msgspec.json.decode(data, type=Progress, dec_hook=_from_plain)
