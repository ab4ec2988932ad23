"""The time a feed lives in, and where it lets blocking work be done: the machine's, or simulated ones."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

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
    """The machine's clocks; the monotonic one is asyncio's."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class ThreadWorker:
    """Threads that begin the work in the order in which it came. They never hold up the end of the process.

    Whoever is cancelled waits for his work to end: a commit that was begun is finished, and its outcome known.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waited_for: set[asyncio.Future[Any]] = set()
        for _ in range(threads):
            threading.Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waited_for.add(done)

        def do() -> None:
            try:
                finish, outcome = done.set_result, work()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the outcome gets it
                finish, outcome = done.set_exception, error  # type: ignore[assignment]
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(_finish, done, finish, outcome)

        self._work.put(do)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done():
                await asyncio.wait([done])
            raise
        finally:
            self._waited_for.discard(done)

    def abandon(self) -> None:
        """Nobody waits any longer for what is under way: the process ends, and work that hangs must not keep it."""
        for done in self._waited_for:
            done.cancel()

    def _run(self) -> None:
        while True:
            self._work.get()()


def _finish(done: "asyncio.Future[T]", finish: Callable[[T], None], outcome: T) -> None:
    if not done.done():
        finish(outcome)
