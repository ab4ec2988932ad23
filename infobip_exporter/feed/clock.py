"""The time a feed lives in, and where it lets blocking work be done: the machine's, or simulated ones."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    def wall_s(self) -> float:
        """Seconds since the epoch; may be set, may be wrong."""

    def monotonic_s(self) -> float:
        """Seconds that only grow. They stand still while the machine sleeps."""

    async def sleep(self, seconds: float) -> None: ...


class Worker(Protocol):
    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. It may block: other feeds go on meanwhile."""


class RealClock:
    """The machine's clocks; the monotonic one is the running loop's."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class ThreadWorker:
    """Work done by the threads of `executor`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(self, work: Callable[[], T]) -> T:
        # Shielded: a commit that was begun is finished, and its outcome known, before a cancelled feed ends.
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                await asyncio.wait([future])
            raise
