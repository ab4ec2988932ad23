"""The HTTP server: uvicorn in a thread of its own, with connections that nobody waits for."""

import logging
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from infobip_exporter.config.rules import unix_socket
from infobip_exporter.errors import ListenError
from infobip_exporter.web.connection import IDLE_S, LARGEST_HEAD, Connection
from infobip_exporter.web.handshake import HANDSHAKE_S, Handshake
from infobip_exporter.web.listen import BACKLOG, bound_sockets, place_of, remove_socket, socket_id
from infobip_exporter.web.tls import Tls

_log = logging.getLogger(__name__)


class Server:
    """Serves `app` on each of `listen_addresses` from `start` to `stop`. Signals are none of its business.

    `tls` is asked for each new connection what to secure it with; None is plain HTTP.
    """

    def __init__(
        self,
        app: ASGIApp,
        listen_addresses: tuple[str, ...],
        connection: type[Connection] = Connection,
        *,
        tls: Callable[[], Tls] | None = None,
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        self._listen_addresses = listen_addresses
        made_by = _secured(connection, tls, handshake_s) if tls else connection
        self._server = _Announcing(_settings(_by_path(app), made_by))
        self._thread: threading.Thread | None = None
        self._socket_ids: dict[Path, tuple[int, int] | None] = {}
        self.addresses = listen_addresses
        """Where it listens, each `host:port` or `unix:/path`; after `start` with the true ports."""

    @property
    def address(self) -> str:
        """The first of the addresses."""
        return self.addresses[0]

    def start(self) -> None:
        """Listen, and serve from now on. Raises ListenError when one of the addresses can't be had."""
        sockets = self._listen()
        self._thread = threading.Thread(target=self._serve, args=(sockets,), name="web", daemon=True)
        self._thread.start()
        while not self._server.serving.wait(0.1):
            if not self._thread.is_alive():
                self._close(sockets)
                raise ListenError(
                    f"can't serve on {', '.join(self.addresses)}: the web server ended as it began, see the log"
                )

    def _listen(self) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        addresses: list[str] = []
        try:
            for address in self._listen_addresses:
                bound = bound_sockets(address)
                sockets += bound
                addresses.append(place_of(bound[0]))
                if path := unix_socket(addresses[-1]):
                    self._socket_ids[path] = socket_id(path)
        except ListenError:
            self._close(sockets)
            raise
        self.addresses = tuple(addresses)
        return sockets

    def _close(self, sockets: list[socket.socket]) -> None:
        for bound in sockets:
            bound.close()
        self._remove_sockets()

    def _serve(self, sockets: list[socket.socket]) -> None:
        # uvicorn leaves by SystemExit when the application can't begin; it has logged why.
        with suppress(SystemExit):
            self._server.run(sockets)

    def stop(self, timeout_s: float = 3.0) -> None:
        """Finish the answers under way and close, within about `timeout_s`. Without effect when not running."""
        thread = self._thread
        if thread is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, int(timeout_s) - 1)
        self._server.should_exit = True
        thread.join(timeout_s)
        if thread.is_alive():
            _log.warning("the web server is still closing; leaving it behind")
        self._thread = None
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        for path, made in self._socket_ids.items():
            if made:
                remove_socket(path, made)
        self._socket_ids.clear()


class _Announcing(uvicorn.Server):
    """A uvicorn server that says when it has begun to serve."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()


_AUTHORITY = re.compile(rb"https?://[^/]*", re.IGNORECASE)


def _by_path(app: ASGIApp) -> ASGIApp:
    """`app` for requests in absolute form as well: `GET http://host/path` is for `/path` (RFC 9112, 3.2.2)."""

    async def with_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (authority := _AUTHORITY.match(scope["raw_path"])):
            raw_path = scope["raw_path"][authority.end() :] or b"/"
            scope = {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode("ascii"))}
        await app(scope, receive, send)

    return with_path


def _secured(connection: type[Connection], tls: Callable[[], Tls], handshake_s: float) -> type[Connection]:
    """What uvicorn makes its connections by: first the handshake, then the connection."""

    def made(**given: Any) -> Handshake:
        def make_connection() -> Connection:
            return connection(**given)

        return Handshake(
            tls(), given["server_state"].connections, connection.most, make_connection, handshake_s
        )

    return cast("type[Connection]", made)


def _settings(app: ASGIApp, connection: type[Connection]) -> uvicorn.Config:
    """How uvicorn is to run. TLS is not its business: that is done before it gets a connection."""
    return uvicorn.Config(
        app,
        http=connection,
        ws="none",
        loop="asyncio",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        log_level="error",  # a broken request of somebody's is not worth a line
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )
