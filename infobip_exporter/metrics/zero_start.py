"""Every new series starts at zero: which of a feed's series are still shown at 0 instead of their real value.

`increase()` does not see a series that appears at 5. So a series is shown at 0 first, and with its real value once
the hold (`metrics.zero_hold`) has passed since the first scrape that showed it. Its counter must never fall
afterwards, so its real value is shown only when the ledger says durably that the series is released, which every
later run obeys. A release that could not be saved in time makes the 0 last longer. A run that ends meanwhile is
followed by one that holds the series anew.

The release is offered for saving shortly before the hold ends, so that the first scrape after it finds it saved. A
run that is killed in between is followed by one that shows the real value up to `RELEASE_AHEAD_S` early.
"""

import threading
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

from infobip_exporter.model.series import Series

RELEASE_AHEAD_S = 2.0
"""How long before the end of the hold the release is offered for saving, in seconds."""


class Moment(NamedTuple):
    """Now by both clocks, in seconds: `wall_s` since the epoch, `monotonic_s` good only within this run."""

    wall_s: float
    monotonic_s: float

    @classmethod
    def now(cls) -> "Moment":
        return cls(time.time(), time.monotonic())


class _Hold:
    """A series whose release is not durable yet. `began_s` is monotonic, None until a scrape showed the series.

    `free` is a series that may be shown with its real value at once, since it came while there was no hold.
    """

    __slots__ = ("began_s", "free", "released")

    def __init__(self, *, free: bool) -> None:
        self.free = free
        self.began_s: float | None = None
        self.released = False
        """Whether the ledger says so."""


class ZeroStart:
    """The zero starts of one feed. Thread-safe; nothing waits for anything but memory.

    `hold_s` is the hold in seconds, `released` the series that the ledger has as released. With a hold of 0 no new
    series is held; releases are offered all the same, for a later run may have a hold.
    """

    def __init__(self, hold_s: float, released: Iterable[Series]) -> None:
        self._hold_s = hold_s
        self._lock = threading.Lock()
        self._known = set(released)
        self._held: dict[Series, _Hold] = {}

    def change_hold(self, hold_s: float) -> None:
        """Go on with another hold. What was shown with its real value stays so; a hold that runs gets the new length."""
        with self._lock:
            self._hold_s = hold_s
            for hold in self._held.values():
                if hold_s <= 0 and hold.began_s is None:
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
            over = [series for series, hold in self._held.items() if hold.released and self._ends(hold, now)]
            for series in over:
                del self._held[series]
            return frozenset(series for series, hold in self._held.items() if not hold.free)

    def shown(self, series: Iterable[Series], now: Moment) -> None:
        """An answered scrape, rendered at `now`, has shown `series` at 0. The first time counts."""
        with self._lock:
            for each in series:
                hold = self._held.get(each)
                if hold is not None and hold.began_s is None:
                    hold.began_s = now.monotonic_s

    def unsaved(self, now: Moment) -> set[Series]:
        """The series whose release is to be made durable now; offered again until `saved`. Cheap when nothing is held."""
        with self._lock:
            return {
                series
                for series, hold in self._held.items()
                if not hold.released and (hold.free or self._ends(hold, now, ahead_s=RELEASE_AHEAD_S))
            }

    def saved(self, released: Collection[Series]) -> None:
        """The releases have been committed: they will be there whatever happens."""
        with self._lock:
            for series in released:
                hold = self._held.get(series)
                if hold is None:
                    continue
                hold.released = True
                if hold.free:
                    del self._held[series]

    def _ends(self, hold: _Hold, now: Moment, ahead_s: float = 0.0) -> bool:
        return hold.began_s is not None and now.monotonic_s >= hold.began_s + self._hold_s - ahead_s
