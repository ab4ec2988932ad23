"""A crowd before a web server: clients that send a byte a second, many scrapes at once, and requests that are none."""

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

SLOW_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nX-Slow: " + b"z" * 4000
ROUND_S = 1.0
PARTS = 20
"""A round sends a byte of each client; it is cut into so many parts, so that they do not come all at once."""

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n"

BROKEN = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n",
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000,
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"a" * 2_000_000,
    b"\x00" * 100_000,
)


@dataclass(frozen=True, slots=True)
class Scrape:
    took_s: float
    answered: bool
    """Whether it was a 200 with all of its page."""
    size: int
    """Bytes of head and page."""


class SlowClients:
    """`count` clients that each send a byte a second of a request without an end. One that is dropped comes back."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._address = address
        self._clients = [self._connecting() for _ in range(count)]
        self._sent = [0] * count
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow clients", daemon=True)
        self.dropped = 0
        """How often one of them was."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _connecting(self) -> socket.socket:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(self._address)
        return client

    def _run(self) -> None:
        part = 0
        while not self._ending.wait(ROUND_S / PARTS):
            for place in range(part, len(self._clients), PARTS):
                self._send_a_byte(place)
            part = (part + 1) % PARTS

    def _send_a_byte(self, place: int) -> None:
        at = self._sent[place] % len(SLOW_REQUEST)
        try:
            self._sent[place] += self._clients[place].send(SLOW_REQUEST[at : at + 1])
        except BlockingIOError:
            pass  # still connecting
        except OSError:
            self.dropped += 1
            self._clients[place].close()
            self._clients[place], self._sent[place] = self._connecting(), 0


@contextmanager
def slow_clients(address: tuple[str, int], count: int) -> Iterator[SlowClients]:
    """That many, from the moment when each has had its turn."""
    allow_open_files(2 * count + 500)
    clients = SlowClients(address, count)
    clients.start()
    try:
        time.sleep(2 * ROUND_S)
        yield clients
    finally:
        clients.stop()


def allow_open_files(count: int) -> None:
    """For this process alone; what was started before has the usual limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def scrape(address: tuple[str, int], within_s: float = 30.0) -> Scrape:
    """One scrape on a connection of its own, from connecting to the last byte."""
    return scrapes_at_once(address, 1, within_s)[0]


def scrapes_at_once(address: tuple[str, int], count: int, within_s: float = 30.0) -> list[Scrape]:
    async def all_of_them() -> list[Scrape]:
        return await asyncio.gather(*(_scrape(address, within_s) for _ in range(count)))

    allow_open_files(count + 500)
    return asyncio.run(all_of_them())


async def _scrape(address: tuple[str, int], within_s: float) -> Scrape:
    began = time.perf_counter()
    received = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(SCRAPE)
            received = await reader.read(-1)
            writer.close()
    is_whole = received.startswith(b"HTTP/1.1 200") and (b"\n# HELP" in received)
    return Scrape(time.perf_counter() - began, is_whole, len(received))


def send_broken_requests(address: tuple[str, int], rounds: int) -> None:
    """Send each kind `rounds` times, and read what comes."""
    for request in BROKEN * rounds:
        # A server may refuse a request long before its end, and close.
        with suppress(OSError), socket.create_connection(address, 2.0) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
