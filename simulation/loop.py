"""An asyncio event loop on the world's time: where a real loop would wait, time goes on at once."""

import asyncio
from asyncio import Handle
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

from simulation.time import WorldTime


class Stuck(Exception):
    """All tasks wait for something that will never happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks one after the other in the order in which they became ready: the same every time.

    It has no sockets, threads or signals. Each life of the process has a loop of its own.
    """

    def __init__(self, time: WorldTime) -> None:
        super().__init__()
        self._world_time = time
        self._selector = self  # what _run_once waits with
        self.set_exception_handler(lambda _loop, _context: None)  # of tasks that died with their process

    def time(self) -> float:
        return self._world_time.monotonic_s()

    def select(self, timeout: float | None) -> list[Any]:
        """Let `timeout` seconds pass. Raises Stuck where there is nothing to wait for."""
        if timeout is None:
            raise Stuck("every task waits, and none for a moment")
        self._world_time.advance(timeout)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        raise NotImplementedError("the simulation has no threads")

    def abandon(self) -> None:
        """The process has died: drop every task where it stands."""
        self.close()
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - that is the point
            with suppress(Exception, asyncio.CancelledError):  # its last words reach nobody
                task.get_coro().close()
