"""The world's time: one true clock, and beside it the API's clock, our wall clock and our monotonic clock."""

from dataclasses import dataclass, field
from typing import NamedTuple


class ClockStep(NamedTuple):
    """From `at_s` on (seconds of true time) a clock is `skew_s` ahead of true time."""

    at_s: float
    skew_s: float


class Suspend(NamedTuple):
    """When our monotonic clock has run for `at_s`, it stands still for `length_s` of true time."""

    at_s: float
    length_s: float


@dataclass(slots=True)
class WorldTime:
    """The true time of a world and our two clocks. `begins_ms` is the true time at the start, since the epoch.

    `now_s` are seconds of true time since the start. The machine runs for `run_s` of them; it is suspended for the rest.
    """

    begins_ms: int
    wall_steps: tuple[ClockStep, ...] = ()
    suspends: tuple[Suspend, ...] = ()
    now_s: float = 0.0
    run_s: float = 0.0
    boots: int = 0
    _booted_s: float = field(default=0.0, init=False)

    def advance(self, seconds: float) -> None:
        """The machine runs for `seconds`; what it sleeps through meanwhile passes as well."""
        before_s = self.run_s
        self.run_s += seconds
        slept_s = sum(each.length_s for each in self.suspends if before_s < each.at_s <= self.run_s)
        self.now_s += seconds + slept_s

    def reboot(self) -> None:
        """The machine starts anew: its monotonic clock counts from here."""
        self.boots += 1
        self._booted_s = self.run_s

    def wall_s(self) -> float:
        return self.begins_ms / 1000 + self.now_s + skew_s(self.wall_steps, self.now_s)

    def monotonic_s(self) -> float:
        return self.run_s - self._booted_s


@dataclass(frozen=True, slots=True)
class ApiTime:
    """The clock of one feed's API, which stamps messages."""

    time: WorldTime
    steps: tuple[ClockStep, ...] = ()

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._at_ms(self.time.now_s, skew_s(self.steps, self.time.now_s))

    def set_back(self) -> list[tuple[int, int]]:
        """Where the clock was set back so far: what it showed before, and what after."""
        before_s = 0.0
        jumps = []
        for step in self.steps:
            if step.at_s <= self.time.now_s and step.skew_s < before_s:
                jumps.append((self._at_ms(step.at_s, before_s), self._at_ms(step.at_s, step.skew_s)))
            before_s = step.skew_s
        return jumps

    def _at_ms(self, now_s: float, skew_s: float) -> int:
        return self.time.begins_ms + round((now_s + skew_s) * 1000)


def skew_s(steps: tuple[ClockStep, ...], now_s: float) -> float:
    return next((step.skew_s for step in reversed(steps) if step.at_s <= now_s), 0.0)
