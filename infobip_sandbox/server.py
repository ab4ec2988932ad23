"""The simulated Infobip over HTTP: on a raw socket, for an orderly server can't break off in mid-sentence."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import h11

from infobip_exporter.errors import ListenError
from infobip_sandbox.control import PREFIX, Control
from infobip_sandbox.replies import Reply
from infobip_sandbox.site import Site, SiteOptions

_IDLE_S = 75.0
_HANGS_S = 120.0
_MAX_BODY = 64 * 1024 * 1024
_READ = 65_536


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class SandboxServer:
    """Serves a `Site`. `clock_ms` is the API's clock."""

    def __init__(self, options: SiteOptions, clock_ms: Callable[[], int] = _clock_ms) -> None:
        self._clock_ms = clock_ms
        self.site = Site(options, clock_ms())
        self._control = Control(self.site)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which is chosen when `port` is 0. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._connection, host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            with contextlib.suppress(OSError, TimeoutError, h11.RemoteProtocolError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection until one of the sides closes it."""
        http = h11.Connection(h11.SERVER)
        while True:
            request = await _next_event(http, reader)
            if not isinstance(request, h11.Request):
                return
            body = bytearray()
            while isinstance(event := await _next_event(http, reader), h11.Data):
                body += event.data
                if len(body) > _MAX_BODY:
                    return
            if not isinstance(event, h11.EndOfMessage):
                return
            reply = self._reply(request, bytes(body))
            if reply.delay_s:
                await asyncio.sleep(reply.delay_s)
            if reply.fault is not None:
                await _fail(http, reply, reader, writer)
                return
            writer.write(_head(http, reply) + _send(http, h11.Data(reply.body), h11.EndOfMessage()))
            await writer.drain()
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    def _reply(self, request: h11.Request, body: bytes) -> Reply:
        method = request.method.decode("ascii")
        path, _, query = request.target.decode("ascii", "replace").partition("?")
        now_ms = self._clock_ms()
        if path.startswith(PREFIX):
            return self._control.answer(method, path, query, body, now_ms)
        if method == "POST":
            return self.site.answer_post(path, body, now_ms, _steady_ms())
        authorization = dict(request.headers).get(b"authorization", b"").decode("latin-1")
        return self.site.answer(path if method == "GET" else "", query, authorization, now_ms, _steady_ms())


async def _next_event(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the data.
        async with asyncio.timeout(_IDLE_S):
            data = await reader.read(_READ)
        http.receive_data(data)
    return event


def _send(http: h11.Connection, *events: h11.Event) -> bytes:
    return b"".join(http.send(event) or b"" for event in events)


def _head(http: h11.Connection, reply: Reply) -> bytes:
    told = {"Content-Length": str(len(reply.body)), **reply.headers}
    response = h11.Response(status_code=reply.status, headers=list(told.items()), reason=b"")
    return _send(http, response)


async def _fail(
    http: h11.Connection, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Do to the connection what the reply's fault says, and end it."""
    if reply.fault == "timeout":
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HANGS_S):
                await reader.read(1)
    elif reply.fault == "cut":
        writer.write(_head(http, reply) + _send(http, h11.Data(reply.body)))
        await writer.drain()
    else:
        # Lingering for no time makes the kernel send a reset instead of an orderly end.
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


class Sandbox:
    """A simulated Infobip in a thread of this process: `with Sandbox(options) as s:` ask at `s.base_url`.

    Raises ListenError when the port can't be had. `clock_offset_ms` sets the API's clock wrong.
    """

    def __init__(
        self,
        options: SiteOptions | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock_offset_ms: int = 0,
    ) -> None:
        self._options = options or SiteOptions()
        self._host, self._port = host, port
        self._clock_offset_ms = clock_offset_ms
        self.api_key = self._options.accounts[0].api_key
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._server = SandboxServer(self._options, lambda: _clock_ms() + self._clock_offset_ms)

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._server.start(self._host, self._port), self._loop)
        try:
            self._port = starting.result(10)
        except OSError as error:
            self._end()
            raise ListenError(f"the sandbox can't listen on {self._host}:{self._port}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
