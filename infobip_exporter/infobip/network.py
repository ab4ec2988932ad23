"""Connections to the API, as httpx makes them, with our own look-up of names."""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from typing import Any

import anyio
import httpcore
import httpx
from httpcore._backends.anyio import AnyIOStream

from infobip_exporter.infobip.tls import Tls

_KEEPALIVE_S = 5.0
"""Idle connections are closed before common servers close them, so that no request meets a closing one."""
_NEXT_ADDRESS_AFTER_S = 2.0
"""Until the next address of a name is tried: one lost packet is sent again after a second (RFC 6298, 2)."""
_LOOK_UP_AGAIN_AFTER_S = 30.0
"""A look-up that takes longer is given up: glibc asks two servers twice in 20 s (resolv.conf(5), `timeout`)."""


class NetworkTransport(httpx.AsyncBaseTransport):
    """Connections to `url`'s host, kept alive, through `proxy`.

    No step has a time limit of its own. `tls` is needed where the host or the proxy is asked by https; `server_name` is
    what the host's certificate is for, where that is not its name.

    Each connection belongs to one request until its body has been read, and is closed after anything else. In httpcore's
    own pool a cancelled request may keep its place and its socket for ever (httpcore issue 1093).
    """

    def __init__(
        self, url: httpx.URL, tls: Tls | None, proxy: httpx.Proxy | None = None, *, server_name: str = ""
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._server_names = {url.host: server_name} if server_name else {}
        self._idle: dict[_Connection, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        context = self._tls.context() if self._tls else None
        connection = await self._take_idle(context) or _Connection(context, self._proxy, self._server_names)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await connection.aclose()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - so says AsyncHTTPTransport
        response.stream = _Body(response.stream, connection, self._keep)
        return response

    async def aclose(self) -> None:
        """Close the idle connections. Those in use are closed when their requests end."""
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            await connection.aclose()

    async def _take_idle(self, context: ssl.SSLContext | None) -> "_Connection | None":
        """An idle connection. Those from before a TLS file changed are closed."""
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            if connection.context is context:
                return connection
            await connection.aclose()
        return None

    def _keep(self, connection: "_Connection") -> None:
        self._idle[connection] = asyncio.get_running_loop().call_later(_KEEPALIVE_S, self._expire, connection)

    def _expire(self, connection: "_Connection") -> None:
        del self._idle[connection]
        task = asyncio.create_task(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Connection(httpx.AsyncHTTPTransport):
    def __init__(
        self, context: ssl.SSLContext | None, proxy: httpx.Proxy | None, server_names: Mapping[str, str]
    ) -> None:
        self.context = context
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None else _pool_proxy(proxy, context),
            max_connections=1,
            network_backend=_Network(server_names),
        )


class _Body(httpx.AsyncByteStream):
    """`stream`, after which `connection` is handed to `keep` if it was read to its end, else closed."""

    def __init__(
        self, stream: httpx.AsyncByteStream, connection: _Connection, keep: Callable[[_Connection], None]
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._keep = keep
        self._whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            yield data
        self._whole = True

    async def aclose(self) -> None:
        reusable = False
        try:
            await self._stream.aclose()
            reusable = self._whole
        finally:
            if reusable:
                self._keep(self._connection)
            else:
                await self._connection.aclose()


class _Network(httpcore.AnyIOBackend):
    def __init__(self, server_names: Mapping[str, str]) -> None:
        self._server_names = server_names

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        failure = "the name has no address"
        addresses = await _addresses(host)
        for address in addresses:
            limit_s = None if address == addresses[-1] else _NEXT_ADDRESS_AFTER_S
            try:
                async with asyncio.timeout(limit_s):
                    return _Stream(await anyio.connect_tcp(address, port), self._server_names)
            except OSError as error:
                failure = f"can't connect to {address} port {port}: {_reason(error)}"
        raise httpcore.ConnectError(failure)


def _reason(error: OSError) -> str:
    """What the system says: the texts of anyio and asyncio do not name it."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return os.strerror(cause.errno) if cause.errno else "no answer"


class _Stream(AnyIOStream):
    """`server_names` are the names in the certificates of hosts whose own is another."""

    def __init__(self, stream: anyio.abc.ByteStream, server_names: Mapping[str, str]) -> None:
        super().__init__(stream)
        self._server_names = server_names

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_: Any, **__: Any
    ) -> httpcore.AsyncNetworkStream:
        name = self._server_names.get(server_hostname or "", server_hostname)
        try:
            secured = await super().start_tls(ssl_context, name)
        except asyncio.CancelledError:  # httpcore closes it after every other failure
            await self.aclose()
            raise
        return _Stream(secured._stream, self._server_names)  # type: ignore[attr-defined]  # noqa: SLF001 - TLS through TLS needs the names again


class _LookUp:
    """A look-up of a name, in a thread that does not keep the process from ending, as asyncio's own would."""

    def __init__(self, host: str) -> None:
        self.started = time.monotonic()
        self.addresses: Future[list[str]] = Future()
        self.addresses.set_running_or_notify_cancel()  # so that nobody who waits can cancel it for the others
        threading.Thread(target=self._run, args=(host,), name="look-up", daemon=True).start()

    def _run(self, host: str) -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            self.addresses.set_result(list(dict.fromkeys(str(address[0]) for *_, address in found)))
        except (OSError, UnicodeError) as error:
            self.addresses.set_exception(error)


_look_ups: dict[str, _LookUp] = {}
"""The last look-up of each name: while it is under way, it serves all who ask."""


async def _addresses(host: str) -> list[str]:
    """The addresses of `host`, which may be one itself."""
    look_up = _look_ups.get(host)
    if (
        look_up is None
        or look_up.addresses.done()
        or look_up.started < time.monotonic() - _LOOK_UP_AGAIN_AFTER_S
    ):
        look_up = _look_ups[host] = _LookUp(host)
    try:
        return await asyncio.wrap_future(look_up.addresses)
    except OSError as error:
        raise httpcore.ConnectError(f"can't look up the name: {error.strerror or error}") from None
    except UnicodeError:
        raise httpcore.ConnectError("can't look up the name: no valid host name") from None


def _pool_proxy(proxy: httpx.Proxy, context: ssl.SSLContext | None) -> httpcore.Proxy:
    url = proxy.url
    return httpcore.Proxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        auth=proxy.raw_auth,
        ssl_context=context if url.scheme == "https" else None,
    )
