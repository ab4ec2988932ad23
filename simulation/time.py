"""Virtual time: one true clock, which is the API's, and the exporter's own clocks beside it."""

from dataclasses import dataclass
from typing import NamedTuple

from infobip_exporter.feed.time import Stopped


class ClockStep(NamedTuple):
    """From `at_s` on (seconds of virtual time) the exporter's wall clock is `skew_s` ahead of the API's."""

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
    now_s: float = 0.0
    booted_s: float = 0.0

    def wall(self) -> float:
        skew_s = next((step.skew_s for step in reversed(self.steps) if step.at_s <= self.now_s), 0.0)
        return self.begins_ms / 1000 + self.now_s + skew_s

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
        return self.begins_ms + self.elapsed_ms

    @property
    def elapsed_ms(self) -> int:
        return round(self.now_s * 1000)
