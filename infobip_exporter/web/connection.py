"""One client's connection, from its TLS handshake to its end: a task that does one thing after the other.

h11 reads and writes HTTP; every wait has a deadline. The next request is read when the answer before it has been taken,
so a client that asks on and on without reading costs no more than one answer.
"""

import asyncio
import fcntl
import re
import select
import socket
import termios
from email.utils import formatdate
from typing import cast
from urllib.parse import unquote

import h11
import structlog
from starlette.types import ASGIApp, Message, Scope

from infobip_exporter.web.crowd import Crowd, network_of
from infobip_exporter.web.stream import PlainStream, SecureStream, Stream
from infobip_exporter.web.tls import Tls

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""

PIECE = 64 * 1024
"""Bytes of an answer that are written at a time: a client that takes them slowly costs no more memory than this."""

IS_TAKEN = "is_taken"
"""Under which name a request's state has `Connection.is_taken`."""

TURN = "turn"
"""Under which name it has a context in which a page may be made and sent, where its value is true."""

FIRST_LOOK_S, LAST_LOOK_S = 0.001, 0.1
"""From one look at what the client has acknowledged to the next, longer each time: no event reports it."""

_AUTHORITY = re.compile(rb"https?://[^/]*", re.IGNORECASE)

_log = structlog.get_logger()


class Connection:
    """A connection of `crowd`, whose limits it keeps.

    `app` answers each request in one piece. `tls` is what the connection is secured with; None is plain HTTP.
    """

    def __init__(
        self,
        app: ASGIApp,
        crowd: Crowd,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tls: Tls | None,
    ) -> None:
        self._app = app
        self._tls = tls
        self._crowd = crowd
        self._limits = crowd.limits
        self._stream: Stream = PlainStream(reader, writer)
        self._loop = asyncio.get_running_loop()
        self._transport = writer.transport
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
        self._is_secure = False
        self._is_last = False
        self._is_answering = False
        self._is_head = False
        self._unserved: Message | None = None
        """The head of the answer that `app` has begun."""
        peer = writer.get_extra_info("peername")
        self.client: tuple[str, int] | None = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        self.network = network_of(self.client[0]) if self.client else ""
        self.waiting_since: float | None = self._loop.time()
        """The loop's time since when the client is waited for, to ask or to take its answer; None while `app` works."""
        self.shaking_hands = tls is not None
        self._untaken_until: float | None = None
        """The loop's time by which all that was asked without a pause has to be taken."""
        # What was written is with the kernel.
        self._transport.set_write_buffer_limits(high=0)

    async def serve(self) -> None:
        """Answer until one of the sides closes."""
        try:
            if self._tls and not await self._shake_hands(self._tls):
                return
            while await self._answer_next():
                pass
            async with asyncio.timeout(self._limits.goodbye_s):
                await self._stream.close()
        except OSError:
            pass  # gone, or too slow (TimeoutError is an OSError)
        except Exception:  # noqa: BLE001 - whatever it was, it ends this connection alone
            _log.exception("internal error while answering a request")

    def abort(self) -> None:
        """Close, and throw away what was not sent yet."""
        self._transport.abort()

    def finish(self) -> bool:
        """Close after the answer under way; False where there is none."""
        self._is_last = True
        return self._is_answering

    # TLS

    async def _shake_hands(self, tls: Tls) -> bool:
        secure = SecureStream(self._stream, tls.context())
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                certificate = await secure.shake_hands()
        except OSError as error:
            self._tell(getattr(error, "reason", None) or str(error) or type(error).__name__)
            return False
        finally:
            self.shaking_hands = False
        if not tls.admits(certificate):
            self._tell("its certificate has none of client_allowed_sans")
            return False
        self._stream = secure
        self._is_secure = True
        return True

    def _tell(self, reason: str) -> None:
        # Not worth a line by default: anybody can cause as many as they like.
        _log.debug(
            "no TLS with a client", client=self.client[0] if self.client else "unix socket", reason=reason
        )

    # HTTP

    async def _answer_next(self) -> bool:
        """Answer the next request. False where it was the last."""
        try:
            request = await self._next_request()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return False
        if request is None:
            return False
        self.waiting_since, self._is_answering = None, True
        await self._app(self._scope(request), _receive, self._send)
        self._is_answering = False
        if self._is_last or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _next_request(self) -> h11.Request | None:
        """The next request, its body read and thrown away; None where the client has closed or asks too late."""
        self.waiting_since = self._loop.time()
        if not self._http.trailing_data[0]:
            self._untaken_until = None
            limits = self._limits
            is_first = self._http.their_http_version is None
            async with asyncio.timeout(limits.request_s if is_first else limits.idle_s):
                await self._receive()
            self.waiting_since = self._loop.time()
        async with asyncio.timeout(self._limits.request_s):
            request = await self._next_event()
            if not isinstance(request, h11.Request):
                return None
            self._is_head = request.method == b"HEAD"
            names = [name for name, _ in request.headers]
            if b"content-length" in names and b"transfer-encoding" in names:
                # The two may be read differently by a proxy in front (RFC 9112, 6.1).
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
            if self._http.they_are_waiting_for_100_continue:
                await self._stream.write(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            while isinstance(await self._next_event(), h11.Data):
                pass
        return request

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            await self._receive()
        return event

    async def _receive(self) -> None:
        # Never more than a head may have, or h11 would take a larger one that comes in one piece.
        room = LARGEST_HEAD + 1 - len(self._http.trailing_data[0])
        self._http.receive_data(await self._stream.read(room))

    def _scope(self, request: h11.Request) -> Scope:
        target = request.target
        # `GET http://host/path` is for `/path` (RFC 9112, 3.2.2).
        if authority := _AUTHORITY.match(target):
            target = target[authority.end() :]
        raw_path, _, query = target.partition(b"?")
        raw_path = raw_path or b"/"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "https" if self._is_secure else "http",
            "root_path": "",
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": list(request.headers),
            "client": self.client,
            "server": None,
            "state": {IS_TAKEN: self.is_taken, TURN: lambda: self._crowd.turn(self)},
        }

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._unserved = message
            return
        head, self._unserved = self._unserved, None
        assert head is not None  # noqa: S101 - the order that ASGI has
        assert not message.get("more_body")  # noqa: S101 - as every answer of ours
        await self._write(head["status"], head["headers"], b"" if self._is_head else message.get("body", b""))

    async def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send an answer, and wait until the client's side has room for all of it."""
        now = self.waiting_since = self._loop.time()
        self._untaken_until = self._untaken_until or now + self._limits.answer_s
        if body:
            self._crowd.hold(self, body)
        async with asyncio.timeout_at(self._untaken_until):
            await self._put(status, headers, body)

    async def _put(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        date = (b"date", formatdate(usegmt=True).encode())
        closing = [(b"connection", b"close")] if self._is_last else []
        response = h11.Response(status_code=status, headers=[*headers, date, *closing])
        start = self._http.send(response) or b""
        view = cast("bytes", memoryview(body))  # for pieces without copies; h11 takes them
        for at in range(0, len(body), PIECE):
            await self._stream.write(start + (self._http.send(h11.Data(data=view[at : at + PIECE])) or b""))
            self.waiting_since = self._loop.time()
            start = b""
        if end := start + (self._http.send(h11.EndOfMessage()) or b""):
            await self._stream.write(end)

    async def _refuse(self, status: int) -> None:
        """Answer a request that can't be read."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        self._is_last = True
        text = b"Invalid HTTP request.\n"
        await self._write(
            status, [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))], text
        )

    # What the client has taken

    async def is_taken(self) -> bool:
        """Whether the client took what was sent to it; waits until that is known. For the end of an answer.

        Taken is what the client's system has acknowledged to the last byte; more no server can know.
        """
        ends_at = self._loop.time() + self._limits.answer_s
        wait_s = FIRST_LOOK_S
        while not self._transport.is_closing() and self._loop.time() < ends_at:
            if self._is_acknowledged():
                return True
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LAST_LOOK_S)
        return False

    def _is_acknowledged(self) -> bool:
        accepted: socket.socket = self._transport.get_extra_info("socket")
        if accepted.fileno() < 0 or self._transport.get_write_buffer_size():
            return False
        try:
            # A connection that was reset has nothing unsent either.
            state = select.poll()
            state.register(accepted.fileno(), 0)
            return not state.poll(0) and not any(fcntl.ioctl(accepted.fileno(), termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return False


async def _receive() -> Message:
    """No answer of ours needs a request's body."""
    return {"type": "http.request", "body": b"", "more_body": False}
