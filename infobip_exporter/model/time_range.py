"""Half-open intervals of sent time in whole milliseconds, by the API's clock."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class TimeRange(NamedTuple):
    """[since_ms, until_ms). Empty where `until_ms` is not after `since_ms`."""

    since_ms: int
    until_ms: int

    @property
    def length_ms(self) -> int:
        return max(0, self.until_ms - self.since_ms)

    def holds(self, moment_ms: int) -> bool:
        return self.since_ms <= moment_ms < self.until_ms

    def covers(self, other: "TimeRange") -> bool:
        return self.since_ms <= other.since_ms and other.until_ms <= self.until_ms

    def meet(self, other: "TimeRange") -> "TimeRange":
        """What both have in common; empty where they have nothing."""
        return TimeRange(max(self.since_ms, other.since_ms), min(self.until_ms, other.until_ms))


class TimeRanges:
    """An immutable set of moments, kept as disjoint ranges that do not touch, oldest first."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[TimeRange] = []
        for since_ms, until_ms in sorted(ranges):
            if until_ms <= since_ms:
                continue
            if merged and since_ms <= merged[-1].until_ms:
                merged[-1] = TimeRange(merged[-1].since_ms, max(merged[-1].until_ms, until_ms))
            else:
                merged.append(TimeRange(since_ms, until_ms))
        self.ranges = tuple(merged)

    @classmethod
    def _of(cls, ranges: Iterable[TimeRange]) -> "TimeRanges":
        """Those of disjoint ranges in order that do not touch."""
        made = cls.__new__(cls)
        made.ranges = tuple(ranges)
        return made

    def __iter__(self) -> Iterator[TimeRange]:
        return iter(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimeRanges) and other.ranges == self.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"TimeRanges({list(map(tuple, self.ranges))})"

    def holds(self, moment_ms: int) -> bool:
        return any(each.holds(moment_ms) for each in self.ranges)

    @property
    def total_ms(self) -> int:
        return sum(each.length_ms for each in self.ranges)

    def add(self, added: tuple[int, int]) -> "TimeRanges":
        return TimeRanges((*self.ranges, added))

    def remove(self, gone: TimeRange) -> "TimeRanges":
        return self.without(TimeRanges((gone,)))

    def without(self, others: "TimeRanges") -> "TimeRanges":
        """What is in none of the ranges of `others`."""
        if not self.ranges or not others.ranges:
            return self
        left: list[TimeRange] = []
        gone, place = others.ranges, 0
        for whole in self.ranges:
            from_ms = whole.since_ms
            while place < len(gone) and gone[place].until_ms <= from_ms:
                place += 1
            at = place
            while at < len(gone) and gone[at].since_ms < whole.until_ms:
                if gone[at].since_ms > from_ms:
                    left.append(TimeRange(from_ms, gone[at].since_ms))
                from_ms = max(from_ms, gone[at].until_ms)
                at += 1
            if from_ms < whole.until_ms:
                left.append(TimeRange(from_ms, whole.until_ms))
        return TimeRanges._of(left)

    def meet(self, window: TimeRange) -> "TimeRanges":
        return TimeRanges(each.meet(window) for each in self.ranges)

    def below(self, moment_ms: int) -> "TimeRanges":
        """The part before `moment_ms`."""
        if not self.ranges or self.ranges[-1].until_ms <= moment_ms:
            return self
        return TimeRanges((each.since_ms, min(each.until_ms, moment_ms)) for each in self.ranges)

    def above(self, moment_ms: int) -> "TimeRanges":
        """The part from `moment_ms` on."""
        if not self.ranges or self.ranges[0].since_ms >= moment_ms:
            return self
        return TimeRanges((max(each.since_ms, moment_ms), each.until_ms) for each in self.ranges)
