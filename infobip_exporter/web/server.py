"""The HTTP server: an event loop in a thread of its own, with a task for each connection.

It is built on h11 and asyncio's streams. uvicorn, hypercorn and granian keep whole answers for clients that do not read,
bound neither handshakes nor addresses, and are bent to do so only by more code than this.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog
from starlette.types import ASGIApp

from infobip_exporter.config.addresses import unix_socket
from infobip_exporter.errors import ListenError
from infobip_exporter.web.connection import LARGEST_HEAD, Connection
from infobip_exporter.web.crowd import Crowd, Limits, client_of, network_of
from infobip_exporter.web.listen import listening_sockets, place_of, remove_socket, socket_id
from infobip_exporter.web.tls import Tls

NEXT_TRY_S = 0.1
"""From a connection that could not be accepted to the next."""

_log = structlog.get_logger()


class Server:
    """Serves `app` on each of `listen_addresses` from `start` to `stop`, with the tasks `besides` on the same loop.

    `app` takes HTTP requests alone and answers each in one piece. `tls` is asked for each new connection what to secure
    it with; None is plain HTTP.
    """

    def __init__(
        self,
        app: ASGIApp,
        listen_addresses: tuple[str, ...],
        limits: Limits | None = None,
        *,
        tls: Callable[[], Tls] | None = None,
        besides: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self._app = app
        self._listen_addresses = listen_addresses
        self._limits = limits or Limits()
        self._tls = tls
        self._besides = besides
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._end_within_s = 0.0
        self._socket_ids: dict[Path, tuple[int, int] | None] = {}
        self.crowd = Crowd(self._limits)
        self.addresses = listen_addresses
        """Where it listens, each `host:port` or `unix:/path`; after `start` with the true ports."""

    @property
    def address(self) -> str:
        """The first of the addresses."""
        return self.addresses[0]

    def start(self) -> None:
        """Listen, and serve from now on. Raises ListenError when one of the addresses can't be had."""
        sockets = self._listen()
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(loop, sockets), name="web", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Finish the answers under way and close, within `timeout_s`. Without effect when not running."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None:
            return
        self._end_within_s = 0.8 * timeout_s
        self._loop.call_soon_threadsafe(self._ending.set)
        thread.join(timeout_s)
        if thread.is_alive():
            _log.warning("the web server is still closing; leaving it behind")
        self._remove_sockets()

    def _listen(self) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        addresses: list[str] = []
        try:
            for address in self._listen_addresses:
                listening = listening_sockets(address)
                sockets += listening
                addresses.append(place_of(listening[0]))
                if path := unix_socket(addresses[-1]):
                    self._socket_ids[path] = socket_id(path)
        except ListenError:
            for each in sockets:
                each.close()
            self._remove_sockets()
            raise
        self.addresses = tuple(addresses)
        return sockets

    def _remove_sockets(self) -> None:
        for path, made in self._socket_ids.items():
            if made:
                remove_socket(path, made)
        self._socket_ids.clear()

    # In the thread

    def _run(self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket]) -> None:
        try:
            loop.run_until_complete(self._serve(sockets))
        finally:
            loop.close()

    async def _serve(self, sockets: Sequence[socket.socket]) -> None:
        besides = [asyncio.ensure_future(each()) for each in self._besides]
        accepting = [asyncio.create_task(self._accept_all(each)) for each in sockets]
        await self._ending.wait()
        for task in (*besides, *accepting):
            task.cancel()
        await asyncio.wait(accepting)
        for each in sockets:
            each.close()
        tasks = dict(self.crowd.tasks)
        for connection, task in tasks.items():
            if not connection.finish():
                task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=self._end_within_s)
        for connection in tasks:
            self.crowd.drop(connection)
        await asyncio.sleep(0)  # for the transports to close

    async def _accept_all(self, listening: socket.socket) -> None:
        """Accept one connection after the other, so that however many come, those that are there are served between."""
        listening.setblocking(False)
        while True:
            await _until_readable(listening)
            try:
                accepted, _ = listening.accept()
            except OSError as error:
                # Gone before it was accepted, or there are no descriptors left.
                _log.warning("a connection can't be accepted", error=error.strerror)
                await asyncio.sleep(NEXT_TRY_S)
                continue
            try:
                await self._begin(accepted)
            except OSError:
                accepted.close()  # gone meanwhile
            except asyncio.CancelledError:
                accepted.close()
                raise

    async def _begin(self, accepted: socket.socket) -> None:
        client = client_of(accepted)
        await self.crowd.make_room(network_of(client[0]) if client else "")
        reader = asyncio.StreamReader(limit=LARGEST_HEAD)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader, self._connected), accepted
        )

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = self._tls() if self._tls else None
        connection = Connection(self._app, self.crowd, reader, writer, tls)
        self.crowd.admit(connection, asyncio.create_task(connection.serve()))


async def _until_readable(listening: socket.socket) -> None:
    # loop.sock_accept may lose a connection when it is cancelled.
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    descriptor = listening.fileno()
    loop.add_reader(descriptor, lambda: None if ready.done() else ready.set_result(None))
    ready.add_done_callback(lambda _: loop.remove_reader(descriptor))
    await ready
