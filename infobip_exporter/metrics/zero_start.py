"""Every new series starts at zero: which of a feed's series are still shown at 0 instead of their real value.

`increase()` does not see a series that appears at 5. So a series is shown at 0 first, and with its real value once
the hold (`metrics.zero_hold`) has passed since the first scrape that showed it. Its counter must never fall
afterwards, so its real value is shown only when the ledger says so durably: a mark `released` that every later run
obeys, whatever the wall clock says by then. A mark that could not be saved in time makes the 0 last longer.

The mark is offered for saving shortly before the hold ends, so that the first scrape after it finds it saved. A run
that is killed in between is followed by one that shows the real value up to `RELEASE_AHEAD_S` early.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from infobip_exporter.model.series import Series

RELEASE_AHEAD_S = 2.0
"""How long before the end of the hold the mark `released` is offered for saving, in seconds."""


class Moment(NamedTuple):
    """Now by both clocks, in seconds: `wall_s` since the epoch, `monotonic_s` good only within this run."""

    wall_s: float
    monotonic_s: float


class Mark(NamedTuple):
    """What the ledger keeps of a series: first shown at `shown_ms` (wall clock), and whether it is released.

    A released series is shown with its real value from then on. A series without a mark was never shown.
    """

    shown_ms: int
    released: bool = False


class _Hold:
    """A series whose release is not durable yet. `began_s` is monotonic; both moments are None until it was shown.

    `free` is a series that may be shown with its real value at once, since it came while there was no hold.
    """

    __slots__ = ("began_s", "free", "saved", "shown_ms")

    def __init__(self, *, free: bool) -> None:
        self.free = free
        self.shown_ms: int | None = None
        self.began_s: float | None = None
        self.saved: Mark | None = None

    @property
    def released(self) -> bool:
        """Whether the ledger says so."""
        return self.saved is not None and self.saved.released


class ZeroStart:
    """The zero starts of one feed. Thread-safe; nothing waits for anything but memory.

    `hold_s` is the hold in seconds, `marks` what the ledger kept, `now` the moment at which this run begins.
    With a hold of 0 no new series is held; marks are offered all the same, for a later run may have a hold.
    """

    def __init__(self, hold_s: float, marks: Mapping[Series, Mark], now: Moment) -> None:
        self._hold_s = hold_s
        self._lock = threading.Lock()
        self._known: set[Series] = set(marks)
        self._held = {series: _resumed(mark, now) for series, mark in marks.items() if not mark.released}

    def change_hold(self, hold_s: float) -> None:
        """Go on with another hold. What was shown with its real value stays so; a hold that runs gets the new length."""
        with self._lock:
            self._hold_s = hold_s
            for hold in self._held.values():
                if hold_s <= 0 and hold.shown_ms is None:
                    hold.free = True

    def add(self, series: Iterable[Series]) -> None:
        """Take in `series`, those known already without effect. Call it before a scrape can show them."""
        with self._lock:
            for each in series:
                if each not in self._known:
                    self._known.add(each)
                    self._held[each] = _Hold(free=self._hold_s <= 0)

    def held(self, now: Moment) -> frozenset[Series]:
        """The series to be shown at 0 now."""
        with self._lock:
            over = [series for series, hold in self._held.items() if self._is_over(hold, now)]
            for series in over:
                del self._held[series]
            return frozenset(series for series, hold in self._held.items() if not hold.free)

    def shown(self, series: Iterable[Series], now: Moment) -> None:
        """An answered scrape, rendered at `now`, has shown `series` at 0. The first time counts."""
        with self._lock:
            for each in series:
                hold = self._held.get(each)
                if hold is not None and hold.shown_ms is None:
                    hold.shown_ms = round(now.wall_s * 1000)
                    hold.began_s = now.monotonic_s

    def unsaved(self, now: Moment) -> dict[Series, Mark]:
        """The marks to be made durable now; offered again until `saved`. Cheap when nothing is held."""
        marks: dict[Series, Mark] = {}
        with self._lock:
            for series, hold in self._held.items():
                mark = self._mark(hold, now)
                if mark is not None and mark != hold.saved:
                    marks[series] = mark
        return marks

    def saved(self, marks: Mapping[Series, Mark]) -> None:
        """`marks` have been committed: they will be there whatever happens."""
        with self._lock:
            for series, mark in marks.items():
                hold = self._held.get(series)
                if hold is None:
                    continue
                if hold.free and mark.released:
                    del self._held[series]
                elif not hold.released:
                    hold.saved = mark

    def _mark(self, hold: _Hold, now: Moment) -> Mark | None:
        if hold.free:
            return Mark(hold.shown_ms or round(now.wall_s * 1000), released=True)
        if hold.shown_ms is None or hold.began_s is None:
            return None
        released = now.monotonic_s >= hold.began_s + self._hold_s - RELEASE_AHEAD_S
        # What was once released stays so, should the caller's `now` be older than the one before, or the hold longer.
        return Mark(hold.shown_ms, released or hold.released)

    def _is_over(self, hold: _Hold, now: Moment) -> bool:
        return hold.released and hold.began_s is not None and now.monotonic_s >= hold.began_s + self._hold_s


def _resumed(mark: Mark, now: Moment) -> _Hold:
    """The hold of a series that an earlier run has shown at 0."""
    hold = _Hold(free=False)
    hold.saved = mark
    hold.shown_ms = mark.shown_ms
    # The clock may have been set back or forth meanwhile: never hold longer than a new series would be.
    hold.began_s = now.monotonic_s - max(0.0, now.wall_s - mark.shown_ms / 1000)
    return hold
