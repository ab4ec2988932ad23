"""A log of any size that is made by arithmetic while it is read: quick, and in a process of its own.

Run as `python -m bench.log_server MESSAGES HOURS PLATFORMS`; the first line is the address, and `/bench/begins_ms` the sent
time of the first message. Answers are as the API's: the newest 1000 rows of the asked time, newest first, bounds
included. Nothing is answered before `/bench/open` has been asked for, so that a start can be told from the reading.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

PENDING_EVERY = 100
_MASK = (1 << 64) - 1
_SCATTER = 0x9E3779B97F4A7C15
_OUTCOMES = (
    ("DELIVERED", "OK"), ("DELIVERED", "OK"), ("DELIVERED", "OK"), ("DELIVERED", "OK"), ("DELIVERED", "OK"),
    ("REJECTED", "OPERATOR_ERRORS"), ("UNDELIVERABLE", "HANDSET_ERRORS"), ("EXPIRED", "OK"),
)  # fmt: skip
_PRICES = (("0.00787679", "USD"), ("0.15", "EUR"), ("0.0325", "GBP"))


@dataclass(frozen=True, slots=True)
class BenchLog:
    """`messages` messages, evenly spread over `length_ms` from `begins_ms` on; one in a hundred stays pending."""

    begins_ms: int
    length_ms: int
    messages: int
    platforms: tuple[tuple[str, str], ...]
    """Entity and application."""

    def numbers(self, since_ms: int, until_ms: int) -> range:
        """The messages sent in [since_ms, until_ms]."""
        return range(self._first_from(since_ms), self._first_from(until_ms + 1))

    def page(self, numbers: range, limit: int) -> bytes:
        return b'{"results":[' + b",".join(map(self.row, reversed(numbers[-limit:]))) + b"]}"

    def row(self, number: int) -> bytes:
        scattered = number * _SCATTER & _MASK
        sent_ms = self.begins_ms + number * self.length_ms // self.messages
        entity, application = self.platforms[(scattered >> 32) % len(self.platforms)]
        if number % PENDING_EVERY == 0:
            status, error, done = "PENDING", "OK", "null"
        else:
            status, error = _OUTCOMES[(scattered >> 24) % len(_OUTCOMES)]
            done = f'"{moment(sent_ms + 500 + (scattered >> 40) % 20_000)}"'
        price, currency = _PRICES[(scattered >> 20) % len(_PRICES)]
        return (
            f'{{"sender":"acme.shop.de","destination":"49{number:011d}","bulkId":"{number // 20:019d}",'
            f'"messageId":"{scattered:016x}-{number:012x}","sentAt":"{moment(sent_ms)}","doneAt":{done},'
            f'"messageCount":1,"price":{{"pricePerMessage":{price},"currency":"{currency}"}},'
            f'"status":{{"groupId":3,"groupName":"{status}","id":5,"name":"{status}_TO_HANDSET",'
            '"description":"Message delivered to handset"},'
            f'"error":{{"groupId":0,"groupName":"{error}","id":0,"name":"NO_ERROR","description":"No Error",'
            '"permanent":false},'
            f'"platform":{{"entityId":"{entity}","applicationId":"{application}"}},'
            f'"content":{{"text":"Your order {number} is on its way.","type":"TEXT"}}}}'
        ).encode()

    def answer(self, parameters: dict[str, list[str]]) -> bytes:
        limit = int(parameters.get("limit", ["50"])[0])
        if "messageId" in parameters:
            ids = parameters["messageId"][0].split(",")
            return b'{"results":[' + b",".join(self.row(int(each[17:], 16)) for each in ids) + b"]}"
        since_ms = _read(parameters["sentSince"][0]) if "sentSince" in parameters else 0
        until_ms = _read(parameters["sentUntil"][0]) if "sentUntil" in parameters else int(time.time() * 1000)
        return self.page(self.numbers(since_ms, until_ms), limit)

    def _first_from(self, moment_ms: int) -> int:
        """The number of the first message sent at `moment_ms` or later."""
        first = -((self.begins_ms - moment_ms) * self.messages // self.length_ms)
        return min(self.messages, max(0, first))


_seconds: dict[int, str] = {}


def moment(ms: int) -> str:
    second = ms // 1000
    text = _seconds.get(second)
    if text is None:
        if len(_seconds) > 100_000:
            _seconds.clear()
        text = _seconds[second] = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{ms % 1000:03d}+0000"


def _read(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def bench_log(messages: int, hours: float, platforms: int) -> BenchLog:
    """A log that ended a second ago."""
    length_ms = int(hours * 3_600_000)
    names = tuple((f"entity-{number // 5}", f"application-{number % 5}") for number in range(platforms))
    return BenchLog(int(time.time() * 1000) - length_ms - 1000, length_ms, messages, names)


class _Connection(asyncio.Protocol):
    def __init__(self, log: BenchLog, opened: asyncio.Event) -> None:
        self._log = log
        self._opened = opened
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" in self._received:
            target = self._received.split(b" ", 2)[1].decode()
            self._received = b""
            self._waiting = asyncio.get_running_loop().create_task(self._answer(target))

    async def _answer(self, target: str) -> None:
        url = urlsplit(target)
        if url.path.startswith("/bench/"):
            if url.path == "/bench/open":
                self._opened.set()
            body = str(self._log.begins_ms).encode()
        else:
            await self._opened.wait()
            body = self._log.answer(parse_qs(url.query))
        head = (
            f"HTTP/1.1 200 OK\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        assert self._transport is not None
        self._transport.write(head.encode() + body)


async def _serve(log: BenchLog) -> None:
    opened = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(log, opened), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(bench_log(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
