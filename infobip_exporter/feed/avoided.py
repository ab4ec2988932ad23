"""What the API has failed to answer, and is not asked for a while: filters, wide ranges, time that can't be shown."""

from dataclasses import dataclass, field

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import TimeRange, TimeRanges

NARROWEST_MS = 1000
"""Ranges are not narrowed further where the API fails for wide ones."""
MOST_POLLS = 64
"""Nothing is avoided for longer than this: half an hour at polls of 30 s."""


@dataclass(frozen=True, slots=True)
class _Rest:
    polls: int
    until_s: float


@dataclass(slots=True)
class Avoided:
    """What is avoided, for twice as many polls with each failure. `now_s` is monotonic seconds."""

    interval_s: float
    widest_ms: int = LOG_KEEPS_MS
    """No range may be wider: the API has failed for wider ones."""
    _rests: dict[str | TimeRange, _Rest] = field(default_factory=dict)

    def may_use(self, parameter: str, now_s: float) -> bool:
        """Whether a filter, by the name of its parameter, may be tried."""
        rest = self._rests.get(parameter)
        return rest is None or rest.until_s <= now_s

    def filter_failed(self, parameter: str, now_s: float) -> None:
        self._rest(parameter, now_s)

    def filter_works(self, parameter: str) -> None:
        self._rests.pop(parameter, None)

    def range_failed(self, failed: TimeRange, now_s: float) -> None:
        """The API failed for this range: ask for narrower ones, and let the narrowest rest."""
        if failed.length_ms > NARROWEST_MS:
            self.widest_ms = max(NARROWEST_MS, min(self.widest_ms, failed.length_ms) // 2)
        else:
            self._rest(failed, now_s)

    def range_read(self, read: TimeRange) -> None:
        if read.length_ms * 2 > self.widest_ms:
            self.widest_ms = min(2 * self.widest_ms, LOG_KEEPS_MS)
        self._rests.pop(read, None)

    def resting(self, now_s: float) -> TimeRanges:
        """The time that is left alone for now."""
        return TimeRanges(
            what for what, rest in self._rests.items() if isinstance(what, TimeRange) and rest.until_s > now_s
        )

    def forget_before(self, moment_ms: int) -> None:
        """Time before this has left the log."""
        self._rests = {
            what: rest
            for what, rest in self._rests.items()
            if not isinstance(what, TimeRange) or what.until_ms > moment_ms
        }

    def _rest(self, what: str | TimeRange, now_s: float) -> None:
        known = self._rests.get(what)
        polls = min(2 * known.polls, MOST_POLLS) if known else 2
        self._rests[what] = _Rest(polls, now_s + polls * self.interval_s)
