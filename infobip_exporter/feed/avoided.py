"""What the API has failed to answer, and is not asked for a while: filters, wide ranges, time that can't be shown."""

from dataclasses import dataclass, field
from itertools import pairwise

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import TimeRange, TimeRanges

NARROWEST_MS = 1000
"""Ranges are not narrowed further where the API fails for wide ones."""
WIDE_FAILURES = 3
"""After so many ranges that had to be narrowed, with none as wide answered between them, all are asked narrower."""
MOST_POLLS = 64
"""Nothing is avoided for longer than this: half an hour at polls of 30 s."""


@dataclass(frozen=True, slots=True)
class _Rest:
    polls: int
    until_s: float


@dataclass(slots=True)
class Avoided:
    """What is avoided, for twice as many polls with each failure. `now_s` is monotonic seconds.

    A range that failed twice is asked for in parts: a row that the API can't show spoils every answer that should hold
    it. Other time is not asked for in smaller parts because of that, nor any while no request is answered.
    """

    interval_s: float
    widest_ms: int = LOG_KEEPS_MS
    """No range may be wider: the API has failed for wider ones."""
    _narrow: dict[TimeRange, int] = field(default_factory=dict)
    """Ranges to be asked for in parts, and how wide these may be."""
    _failed_once: set[TimeRange] = field(default_factory=set)
    _narrowed_at: int = -1
    """How many requests had been answered when a range was narrowed last."""
    _in_a_row: int = 0
    _rests: dict[str | TimeRange, _Rest] = field(default_factory=dict)

    def may_use(self, parameter: str, now_s: float) -> bool:
        """Whether a filter, by the name of its parameter, may be tried."""
        rest = self._rests.get(parameter)
        return rest is None or rest.until_s <= now_s

    def filter_failed(self, parameter: str, now_s: float) -> None:
        self._rest(parameter, now_s)

    def filter_works(self, parameter: str) -> None:
        self._rests.pop(parameter, None)

    def has_failed(self, asked: TimeRange) -> bool:
        """Whether the API has failed for this range once before."""
        return asked in self._failed_once

    def range_failed(self, failed: TimeRange, now_s: float, answered: int) -> None:
        """The API failed for this range, `answered` requests after the start: narrow it, and let the narrowest rest."""
        if failed not in self._failed_once:
            self._failed_once.add(failed)
            return
        if self._narrowed_at == answered:
            return  # nothing has been answered since another was narrowed: it is not the range
        self._narrowed_at = answered
        self._failed_once.discard(failed)
        if failed.length_ms <= NARROWEST_MS:
            self._rest(failed, now_s)
            return
        if not any(each.covers(failed) for each in self._narrow):
            self._in_a_row += 1
            if self._in_a_row >= WIDE_FAILURES:
                self.widest_ms = max(NARROWEST_MS, min(self.widest_ms, failed.length_ms) // 2)
        self._narrow[failed] = max(NARROWEST_MS, failed.length_ms // 2)

    def range_read(self, read: TimeRange) -> None:
        if read.length_ms * 2 > self.widest_ms:
            self.widest_ms = min(2 * self.widest_ms, LOG_KEEPS_MS)
        if read.length_ms * 2 >= max(self._narrow.values(), default=0):
            self._in_a_row = 0
        self._rests.pop(read, None)
        self._failed_once.discard(read)
        for whole in [each for each in self._narrow if each.meet(read).length_ms]:
            widest_ms = self._narrow.pop(whole)
            for left in TimeRanges([whole]).remove(read):
                self._narrow[left] = widest_ms

    def parts(self, wanted: TimeRange, now_s: float) -> list[TimeRange]:
        """What to ask for instead of `wanted`, oldest first: without the time that rests, and narrow where that failed."""
        parts: list[TimeRange] = []
        for each in TimeRanges([wanted]).without(self.resting(now_s)):
            cuts = {*each}
            for whole, widest_ms in self._narrow.items():
                since_ms, until_ms = whole.meet(each)
                pieces = -(-(until_ms - since_ms) // widest_ms)
                cuts.update(
                    since_ms + (until_ms - since_ms) * n // pieces for n in range(pieces + 1) if pieces > 0
                )
            parts += [TimeRange(since, until) for since, until in pairwise(sorted(cuts))]
        return parts

    def resting(self, now_s: float) -> TimeRanges:
        """The time that is left alone for now."""
        return TimeRanges(
            what for what, rest in self._rests.items() if isinstance(what, TimeRange) and rest.until_s > now_s
        )

    def forget_before(self, moment_ms: int) -> None:
        """Time before this has left the log."""
        self._narrow = {whole: width for whole, width in self._narrow.items() if whole.until_ms > moment_ms}
        self._failed_once = {each for each in self._failed_once if each.until_ms > moment_ms}
        self._rests = {
            what: rest
            for what, rest in self._rests.items()
            if not isinstance(what, TimeRange) or what.until_ms > moment_ms
        }

    def _rest(self, what: str | TimeRange, now_s: float) -> None:
        known = self._rests.get(what)
        polls = min(2 * known.polls, MOST_POLLS) if known else 2
        self._rests[what] = _Rest(polls, now_s + polls * self.interval_s)
