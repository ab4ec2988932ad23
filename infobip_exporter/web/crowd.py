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
    answers: int = 80
    """Large answers being sent at a time: with 40, as the node exporter has, 400 that do not read delay others by a second."""
    answers_bytes: int = 48 * 1024 * 1024
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
    """For a turn among the large answers; then the answer is 503."""
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
        """What each connection is being sent, or waits to be sent."""
        self._began_s: dict[Connection, float] = {}
        """Since when each is being sent its body, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    async def make_room(self, network: str) -> None:
        """Wait until there may be one more connection, of `network`; others make room for it where there are too many."""
        limits = self.limits
        for most, belongs in (
            (limits.connections, lambda _: True),
            (limits.handshakes, lambda each: each.shaking_hands),
            (limits.of_an_address, lambda each: bool(network) and each.network == network),
        ):
            while len(crowd := [each for each in self.tasks if belongs(each)]) >= most:
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

    # Large answers

    @asynccontextmanager
    async def turn(self, connection: "Connection", body: bytes) -> AsyncIterator[bool]:
        """A turn to send `body`; False where there was none in time."""
        self._bodies[connection] = body
        try:
            yield self._has_memory() and await self._has_turn(connection)
        finally:
            self._end_turn(connection)

    def _has_memory(self) -> bool:
        """Whether all bodies may be held; the oldest answers are dropped where that helps."""
        while True:
            bodies = {id(body): len(body) for body in self._bodies.values()}
            if len(bodies) == 1 or sum(bodies.values()) <= self.limits.answers_bytes:
                return True
            if not self._began_s:
                return False
            oldest = next(iter(self._began_s))
            self._end_turn(oldest)
            self.drop(oldest)

    async def _has_turn(self, connection: "Connection") -> bool:
        self._hurry()
        connection.waiting_since = None  # it is the one who waits
        try:
            async with asyncio.timeout(self.limits.turn_s):
                await self._turns.acquire()
        except TimeoutError:
            return False
        finally:
            connection.waiting_since = asyncio.get_running_loop().time()
        self._began_s[connection] = connection.waiting_since
        self._hurry()
        return True

    def _end_turn(self, connection: "Connection") -> None:
        self._bodies.pop(connection, None)
        if self._began_s.pop(connection, None) is not None:
            self._turns.release()

    def _hurry(self) -> None:
        """While anybody waits for a turn, drop the answer that has gone on for too long, as soon as there is one."""
        if self._timer is None and self._began_s and len(self._bodies) > len(self._began_s):
            loop = asyncio.get_running_loop()
            slowest = min(self._began_s, key=self._until_s)
            if loop.time() >= self._until_s(slowest) and self._turns.locked():
                self._end_turn(slowest)
                self.drop(slowest)
            else:
                self._timer = loop.call_at(self._until_s(slowest), self._look_again)

    def _until_s(self, connection: "Connection") -> float:
        """The loop's time until which a connection may be sent its answer while others wait."""
        return min(
            (connection.waiting_since or 0.0) + self.limits.grace_s,
            self._began_s[connection] + self.limits.long_s,
        )

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
