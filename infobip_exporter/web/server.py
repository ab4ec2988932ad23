"""The HTTP server: uvicorn in a thread of its own, with connections that nobody waits for."""

import logging
import socket
import threading
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from infobip_exporter.errors import ListenError
from infobip_exporter.web.connection import IDLE_S, LARGEST_HEAD, Connection
from infobip_exporter.web.listen import BACKLOG, bound_sockets

_log = logging.getLogger(__name__)


class Server:
    """Serves `app` on `listen_address` from `start` to `stop`. Signals are none of its business."""

    def __init__(self, app: ASGIApp, listen_address: str, connection: type[Connection] = Connection) -> None:
        self._listen_address = listen_address
        self._server = _Announcing(_settings(app, connection))
        self._thread: threading.Thread | None = None
        self.address = listen_address
        """Where it listens, `host:port`; after `start` with the true port."""

    def start(self) -> None:
        """Listen, and serve from now on. Raises ListenError when the address can't be had."""
        sockets = bound_sockets(self._listen_address)
        host, port = sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._thread = threading.Thread(target=self._serve, args=(sockets,), name="web", daemon=True)
        self._thread.start()
        while not self._server.serving.wait(0.1):
            if not self._thread.is_alive():
                for bound in sockets:
                    bound.close()
                raise ListenError(
                    f"can't serve on {self.address}: the web server ended as it began, see the log"
                )

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


class _Announcing(uvicorn.Server):
    """A uvicorn server that says when it has begun to serve."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()


def _settings(app: ASGIApp, connection: type[Connection]) -> uvicorn.Config:
    """How uvicorn is to run. TLS belongs here (`ssl_context_factory`), who may ask what into `app.py`."""
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
