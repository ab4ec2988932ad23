"""The bounds that all connections share: how many there are, of one address, in a handshake, with a large answer.

Where a bound is reached, whoever has kept the server waiting for longest makes room. An honest scraper asks and takes its
page within milliseconds, so it is hardly ever that one.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infobip_exporter.web.connection import Connection


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server. Times are in seconds."""

    connections: int = 300
    """At a time. One that is secured by TLS holds 0.1 MB."""
    of_an_address: int = 150
    handshakes: int = 100
    answers: int = 140
    """Pages being made and sent at a time, nearly as many as an address has connections. Each that is not read keeps its
    place for `grace_s` and its page's making, so with 80 of them 410 clients that do not read delay others by a second."""
    answers_bytes: int = 32 * 1024 * 1024
    """What the pages being sent may take together; one that goes to several clients counts once."""
    handshake_s: float = 10.0
    request_s: float = 10.0
    """For a request to arrive, to the last byte of its body, from its first byte or from connecting."""
    idle_s: float = 75.0
    """For the next request on a connection that is kept open: longer than Prometheus' usual minute."""
    answer_s: float = 30.0
    """For an answer to be taken, with those of further requests that were sent without waiting for it."""
    grace_s: float = 0.15
    """For a client to ask, or to take the next piece of an answer, while others wait for its place."""
    long_s: float = 2.0
    """For a client to take a large answer while others wait for their turn."""
    turn_s: float = 5.0
    """For a turn to have a page made; then the answer is 503."""
    goodbye_s: float = 5.0
    """For the client to read to the end when the server closes."""


@dataclass(eq=False)
class Crowd:
    """The connections of a server, and the answers on their way. Belongs to the event loop."""

    limits: Limits
    tasks: "dict[Connection, asyncio.Task[None]]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.limits.answers)
        self._bodies: dict[Connection, bytes] = {}
        """What each connection is being sent, the oldest first."""
        self._began_s: dict[Connection, float] = {}
        """Since when each has its turn."""
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    async def make_room(self, network: str) -> None:
        """Wait until there may be one more connection, of `network`; others make room for it where there are too many."""
        limits = self.limits
        for most, belongs in (
            (limits.connections, lambda _: True),
            (limits.handshakes, lambda each: each.shaking_hands),
            (limits.of_an_address, lambda each: bool(network) and each.network == network),
        ):
            while (
                len(self.tasks) >= most
                and len(crowd := [each for each in self.tasks if belongs(each)]) >= most
            ):
                await self._drop_longest_waiting(crowd)

    def admit(self, newest: "Connection", task: "asyncio.Task[None]") -> None:
        """Take `newest` in, which is served by `task`."""
        self.tasks[newest] = task
        task.add_done_callback(lambda _: self._end(newest))

    async def _drop_longest_waiting(self, crowd: "Iterable[Connection]") -> None:
        """Drop the one of `crowd` that has waited for longest if it has had its grace, else wait a little."""
        waiting = [each for each in crowd if each.waiting_since is not None]
        oldest = min(waiting, key=lambda each: each.waiting_since or 0.0, default=None)
        now_s = asyncio.get_running_loop().time()
        left_s = (
            self.limits.grace_s
            if oldest is None
            else (oldest.waiting_since or 0.0) + self.limits.grace_s - now_s
        )
        if oldest is not None and left_s <= 0:
            self.drop(oldest)
        else:
            await asyncio.sleep(left_s)

    def drop(self, connection: "Connection") -> None:
        """Close at once, whatever is under way."""
        if task := self.tasks.get(connection):
            task.cancel()
            self._end(connection)

    def _end(self, connection: "Connection") -> None:
        self.tasks.pop(connection, None)
        connection.abort()

    # Pages

    @asynccontextmanager
    async def turn(self, connection: "Connection") -> AsyncIterator[bool]:
        """A turn to have a page made and sent; False where there was none in time."""
        try:
            yield await self._has_turn(connection)
        finally:
            self._end_turn(connection)

    def hold(self, connection: "Connection", body: bytes) -> None:
        """Note what a connection is being sent. The oldest answers are dropped where all together take too much."""
        if connection not in self._began_s:
            return  # a few words, for which no turn was asked
        self._bodies[connection] = body
        while True:
            sizes = {id(each): len(each) for each in self._bodies.values()}
            if len(sizes) == 1 or sum(sizes.values()) <= self.limits.answers_bytes:
                return
            self._drop_answer(next(iter(self._bodies)))

    async def _has_turn(self, connection: "Connection") -> bool:
        self._waiting += 1
        try:
            self._hurry()
            async with asyncio.timeout(self.limits.turn_s):
                await self._turns.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        self._began_s[connection] = asyncio.get_running_loop().time()
        self._hurry()
        return True

    def _end_turn(self, connection: "Connection") -> None:
        self._bodies.pop(connection, None)
        if self._began_s.pop(connection, None) is not None:
            self._turns.release()

    def _drop_answer(self, connection: "Connection") -> None:
        self._end_turn(connection)
        self.drop(connection)

    def _hurry(self) -> None:
        """While anybody waits for a turn, drop the answer that has gone on for too long, as soon as there is one."""
        if self._timer is None and self._bodies and self._waiting:
            loop = asyncio.get_running_loop()
            slowest = min(self._bodies, key=self._until_s)
            if loop.time() >= self._until_s(slowest) and self._turns.locked():
                self._drop_answer(slowest)
            else:
                self._timer = loop.call_at(self._until_s(slowest), self._look_again)

    def _until_s(self, connection: "Connection") -> float:
        """The loop's time until which a connection may be sent its answer while others wait."""
        began_s = self._began_s[connection]
        return min((connection.waiting_since or began_s) + self.limits.grace_s, began_s + self.limits.long_s)

    def _look_again(self) -> None:
        self._timer = None
        self._hurry()


def client_of(accepted: socket.socket) -> tuple[str, int] | None:
    """Address and port of the client at the other end; None for a unix socket. Raises OSError when it is gone."""
    peer = accepted.getpeername()
    return (peer[0], peer[1]) if isinstance(peer, tuple) else None


def network_of(address: str) -> str:
    """`address`, or the /64 of an IPv6 one: whoever has one address of that has them all."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip.packed[:8] + bytes(8), 64)))
