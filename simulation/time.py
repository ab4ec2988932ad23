"""Virtual time: one true clock, which is the API's, and the exporter's own clocks beside it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from infobip_exporter.feed.time import Stopped


class ClockStep(NamedTuple):
    """From `at_s` on (seconds of virtual time) a clock is `skew_s` ahead of true time."""

    at_s: float
    skew_s: float


@dataclass(slots=True)
class VirtualTime:
    """The time of one feed. It goes on only when the feed waits or a request takes time.

    `begins_ms` is the API's clock at the start, `ends_s` when a wait raises Stopped, in seconds from the start.
    """

    begins_ms: int
    ends_s: float
    steps: tuple[ClockStep, ...] = ()
    api_steps: tuple[ClockStep, ...] = ()
    """The same for the API's clock, against the one it started with."""
    now_s: float = 0.0
    booted_s: float = 0.0

    def wall(self) -> float:
        return self.begins_ms / 1000 + self.now_s + _skew_s(self.steps, self.now_s)

    def monotonic(self) -> float:
        return self.now_s - self.booted_s

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        if self.now_s >= self.ends_s:
            raise Stopped

    def advance(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds)

    def reboot(self) -> None:
        """The machine starts anew: its monotonic clock counts from here."""
        self.booted_s = self.now_s

    @property
    def api_ms(self) -> int:
        """The API's now, in milliseconds since the epoch."""
        return self.begins_ms + round((self.now_s + _skew_s(self.api_steps, self.now_s)) * 1000)

    def set_back(self) -> list[tuple[int, int]]:
        """Where the API's clock was set back so far: what it showed before, and what after."""
        jumps = [
            (self._api_ms_before(n), self.begins_ms + round((step.at_s + step.skew_s) * 1000))
            for n, step in enumerate(self.api_steps)
            if step.at_s <= self.now_s
        ]
        return [(before_ms, after_ms) for before_ms, after_ms in jumps if after_ms < before_ms]

    def set_back_ms(self) -> int:
        """By how much the API's clock was set back so far."""
        return sum(before_ms - after_ms for before_ms, after_ms in self.set_back())

    def stepped_s_ago(self) -> float:
        """How long ago the API's clock was set."""
        return min((self.now_s - s.at_s for s in self.api_steps if s.at_s <= self.now_s), default=math.inf)

    def _api_ms_before(self, number: int) -> int:
        skew_s = self.api_steps[number - 1].skew_s if number else 0.0
        return self.begins_ms + round((self.api_steps[number].at_s + skew_s) * 1000)

    @property
    def elapsed_ms(self) -> int:
        return round(self.now_s * 1000)


def _skew_s(steps: tuple[ClockStep, ...], now_s: float) -> float:
    return next((step.skew_s for step in reversed(steps) if step.at_s <= now_s), 0.0)
