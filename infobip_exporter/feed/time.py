"""The time a feed lives in: the machine's, or a simulated one."""

import threading
import time
from typing import Protocol


class Stopped(Exception):
    """Raised out of a wait when the feed is to end."""


class Time(Protocol):
    def wall(self) -> float:
        """Seconds since the epoch; may be set, may be wrong."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the feed is to end."""


class RealTime:
    """The machine's clocks, and waits that `stop` ends."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self.wait(seconds):
            raise Stopped

    def wait(self, seconds: float) -> bool:
        """Wait. True as soon as everything is to end."""
        return self._stopping.wait(max(0.0, seconds))

    def stop(self) -> None:
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()
