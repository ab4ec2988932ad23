"""The line in which checks of passwords wait for their worker, fair to every address.

Addresses take turns. Those that were right before go first, those that were wrong go last, and for these alone the worker
rests after each wrong password: guessing costs a quarter of a core.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum

from infobip_exporter.web.crowd import network_of

MOST_OF_AN_ADDRESS = 4
"""Checks of one address that may wait."""

MOST_WAITING = 64
"""Checks that may wait of the addresses that were right before, of those that were wrong, and of the others each."""

MOST_ADDRESSES = 1000
"""Addresses that are remembered for having been right, and for having been wrong."""

REST = 3.0
"""After a wrong password the worker rests so many times as long as the check took."""


class LineFull(Exception):
    """Too many checks are waiting."""


class Rank(IntEnum):
    WAS_RIGHT = 0
    UNKNOWN = 1
    WAS_WRONG = 2


@dataclass
class Addresses:
    """Which addresses gave right and wrong passwords before."""

    right: OrderedDict[str, None] = field(default_factory=OrderedDict)
    wrong: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def rank(self, address: str) -> Rank:
        if address in self.right:
            return Rank.WAS_RIGHT
        return Rank.WAS_WRONG if address in self.wrong else Rank.UNKNOWN

    def note(self, address: str, *, is_right: bool) -> None:
        if is_right:
            self.wrong.pop(address, None)
        ranked = self.right if is_right else self.wrong
        ranked[address] = None
        ranked.move_to_end(address)
        if len(ranked) > MOST_ADDRESSES:
            ranked.popitem(last=False)


class _Waiting:
    def __init__(self, address: str, check: Callable[[], bool]) -> None:
        self.address = address
        self.check = check
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class CheckLine:
    """A line with a worker of its own. Belongs to the event loop."""

    def __init__(self, addresses: Addresses, clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses = addresses
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, "passwords")
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        """By address, in the order of their turns."""
        self._is_busy = False
        self._running: asyncio.Task[None] | None = None
        self._rests_until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def check(self, client: str, check: Callable[[], bool]) -> bool:
        """What `check` returns, made when its turn comes. Raises LineFull where too many wait."""
        address = network_of(client)
        rank = self._addresses.rank(address)
        alike = sum(len(own) for each, own in self._waiting.items() if self._addresses.rank(each) is rank)
        if alike >= MOST_WAITING or len(self._waiting.get(address, ())) >= MOST_OF_AN_ADDRESS:
            raise LineFull
        waiting = _Waiting(address, check)
        self._waiting.setdefault(address, deque()).append(waiting)
        self._serve()
        return await waiting.done

    def _serve(self) -> None:
        """Begin the next check, if the worker is free."""
        if self._is_busy or (waiting := self._next()) is None:
            return
        self._is_busy = True
        self._running = asyncio.create_task(self._run(waiting))

    def _next(self) -> _Waiting | None:
        if not self._waiting:
            return None
        address = min(self._waiting, key=self._addresses.rank)
        rest_s = self._rests_until_s - self._clock()
        if rest_s > 0 and self._addresses.rank(address) is Rank.WAS_WRONG:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(rest_s, self._wake)
            return None
        own = self._waiting.pop(address)
        waiting = own.popleft()
        if own:
            self._waiting[address] = own  # behind the other addresses
        return waiting

    def _wake(self) -> None:
        self._timer = None
        self._serve()

    async def _run(self, waiting: _Waiting) -> None:
        began_s = self._clock()
        is_right = False
        try:
            is_right = await asyncio.get_running_loop().run_in_executor(self._worker, waiting.check)
            waiting.done.set_result(is_right)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is for whoever waits
            waiting.done.set_exception(error)
        self._addresses.note(waiting.address, is_right=is_right)
        if not is_right:
            now_s = self._clock()
            self._rests_until_s = now_s + REST * (now_s - began_s)
        self._is_busy = False
        self._serve()
