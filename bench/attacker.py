"""A hostile client: `python -m bench.attacker NAME HOST:PORT SECONDS`, against a server of this machine alone.

Bounded in connections and in time. Apart from the flood of passwords, attacks come from the address of the honest scraper,
which is the worst case: no server can tell them by it.
"""

import asyncio
import base64
import ipaddress
import itertools
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
MOST_CONNECTIONS = 20_000
"""Of one attack, all in all."""

GUESSES_PER_S = 200
GUESSERS = tuple(f"127.0.0.{number}" for number in range(2, 10))


class Target:
    """Connects to the server under attack, up to `MOST_CONNECTIONS` times."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        assert ipaddress.ip_address(host).is_loopback, "only this machine is attacked"
        self._place = host, int(port)
        self._left = MOST_CONNECTIONS

    async def connect(self, source: str = "", receive_bytes: int = 0) -> socket.socket:
        """A connection; `receive_bytes` bounds what the kernel takes for a client that does not read."""
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()
        client = socket.socket()
        client.setblocking(False)
        try:
            if receive_bytes:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            if source:
                client.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(client, self._place)
        except BaseException:
            client.close()
            raise
        return client


Client = Callable[[Target], Awaitable[None]]


async def _send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


async def _receive(client: socket.socket, most: int = 65536) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(client, most)
    if not data:
        raise ConnectionResetError
    return data


async def asks_on_and_never_reads(target: Target) -> None:
    with await target.connect(receive_bytes=4096) as client:
        while True:
            await _send(client, GET * 30)
            await asyncio.sleep(0.5)


async def reads_a_byte_a_second(target: Target) -> None:
    with await target.connect(receive_bytes=4096) as client:
        await _send(client, GET)
        while True:
            await _receive(client, 1)
            await asyncio.sleep(1)


async def sends_a_byte_a_second(target: Target) -> None:
    with await target.connect() as client:
        for byte in GET:
            await _send(client, bytes((byte,)))
            await asyncio.sleep(1)


async def says_nothing(target: Target) -> None:
    with await target.connect() as client:
        await _receive(client)


async def scrapes_without_a_pause(target: Target) -> None:
    with await target.connect() as client:
        while True:
            await _send(client, GET)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await _receive(client)
            head, _, body = answer.partition(b"\r\n\r\n")
            if b"chunked" in head.lower():
                while not body.endswith(b"0\r\n\r\n"):
                    body = body[-5:] + await _receive(client)
                continue
            left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
            while left > 0:
                left -= len(await _receive(client))


async def sends_a_huge_head(target: Target) -> None:
    with await target.connect() as client:
        await _send(
            client, GET[:-2] + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(900)) + b"\r\n"
        )
        while True:
            await _receive(client)


async def stays_in_its_handshake(target: Target) -> None:
    with await target.connect() as client:
        await _send(client, _client_hello())
        while True:
            await _receive(client)


@lru_cache
def _client_hello() -> bytes:
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context = ssl.create_default_context()
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    return hello.read()


_numbers = itertools.count()


async def guesses_passwords(target: Target) -> None:
    number = next(_numbers)
    guess = base64.b64encode(b"prometheus:guess %d" % number)
    asking = GET[:-2] + b"Authorization: Basic " + guess + b"\r\nConnection: close\r\n\r\n"
    with await target.connect(GUESSERS[number % len(GUESSERS)]) as client:
        await _send(client, asking)
        while True:
            await _receive(client)


ATTACKS: dict[str, tuple[Client, int]] = {
    "pipelined": (asks_on_and_never_reads, 410),
    "slow-readers": (reads_a_byte_a_second, 300),
    "slow-requests": (sends_a_byte_a_second, 600),
    "silent": (says_nothing, 800),
    "scrapes": (scrapes_without_a_pause, 50),
    "heads": (sends_a_huge_head, 50),
    "handshakes": (stays_in_its_handshake, 600),
    "passwords": (guesses_passwords, GUESSES_PER_S),
}
"""What each connection does, and how many there are at a time; each that is closed is followed by another."""


async def _again_and_again(client: Client, target: Target, pause_s: float) -> None:
    while True:
        with suppress(OSError):
            await client(target)
        await asyncio.sleep(pause_s)


async def attack(name: str, address: str, seconds: float) -> None:
    client, count = ATTACKS[name]
    # Guesses come at a rate; any other attacker is back as soon as it has been thrown out.
    pause_s = 1.0 if client is guesses_passwords else 0.05
    target = Target(address)
    clients = [asyncio.create_task(_again_and_again(client, target, pause_s)) for _ in range(count)]
    await asyncio.sleep(seconds)
    for each in clients:
        each.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], sys.argv[2], float(sys.argv[3])))
