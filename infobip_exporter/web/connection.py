"""A connection that is not waited for: what uvicorn's lacks under slow, silent and broken clients.

uvicorn closes an idle connection, but waits for ever for a request to be completed and for an answer to be taken.
Here a request has to arrive whole within `REQUEST_S`, an answer has to be taken within `ANSWER_S`, and of more
than `MOST` connections the one that has waited longest without asking for anything is dropped.
"""

import asyncio
import fcntl
import select
import socket
import termios
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from infobip_exporter.web.guest import Guest, make_room

REQUEST_S = 10.0
"""For a request to arrive, to the last byte of its body, in seconds from its first byte or from connecting."""

ANSWER_S = 30.0
"""For an answer to be made and taken by the client, in seconds."""

IDLE_S = 75
"""For the next request on a connection that is kept open, in seconds: longer than Prometheus' usual minute."""

MOST = 400
"""Connections at a time: well below the 1024 open files that a process usually may have."""

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""


IS_TAKEN = "is_taken"
"""Under which name a request's state has `Connection.is_taken`."""

FIRST_LOOK_S, LAST_LOOK_S = 0.001, 0.1
"""From one look at what the client has acknowledged to the next, longer each time: nobody tells of it."""


class Connection(H11Protocol, Guest):
    """One client's connection. Runs in the event loop's thread like all of its kind."""

    request_s = REQUEST_S
    answer_s = ANSWER_S
    most = MOST

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, IS_TAKEN: self.is_taken}, _loop)
        self._is_dropped = False
        self._is_at_end = False
        self._socket: socket.socket | None = None
        self._lost = asyncio.Event()
        self._was_taken = False
        """Once the connection is lost: whether the last answer reached the client, as far as is known."""
        self._deadline: asyncio.TimerHandle | None = None
        self._asking = False
        self._idle_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")
        self._ask()
        if dropped := make_room(self.connections, self.most, self):
            self.connections.discard(dropped)

    def data_received(self, data: bytes) -> None:
        if not self._asking and not self._is_answering():
            self._ask()
        super().data_received(data)
        if self.transport.is_closing():
            # A last answer is on its way: see that it is taken, or given up.
            self._expect(self.answer_s)
        elif self._asking and self.conn.their_state in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}:
            self._asking = False
            self._expect(self.answer_s)

    def on_response_complete(self) -> None:
        # Before the next request, which may have arrived already, is looked at. More of a body than was waited for
        # counts as a next request: it begins a deadline, and anything else is left to uvicorn's for idle ones.
        self._asking = False
        self._idle_since = self.loop.time()
        self._expect(self.answer_s)
        super().on_response_complete()

    def eof_received(self) -> None:
        self._is_at_end = True
        super().eof_received()

    async def is_taken(self) -> bool:
        """Whether the client took what was sent to it; waits until that is known. For the end of an answer.

        Taken is what the client's system has acknowledged to the last byte; more no server can know. Where we close the
        connection ourselves, that it could be written and was not refused.
        """
        if self._lost.is_set() or self._is_at_end:
            return False  # gone before the answer was sent
        ends_at = self.loop.time() + self.answer_s
        wait_s = FIRST_LOOK_S
        while not self._lost.is_set():
            if not self.transport.get_write_buffer_size() and self._is_acknowledged():
                return True
            if self.loop.time() > ends_at:
                return False
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LAST_LOOK_S)
        return self._was_taken

    def _is_acknowledged(self) -> bool:
        descriptor = self._socket.fileno() if self._socket else -1
        if descriptor < 0:
            return False
        try:
            # A connection that was reset has nothing unsent either.
            state = select.poll()
            state.register(descriptor, 0)
            return not state.poll(0) and not any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return False

    def connection_lost(self, exc: Exception | None) -> None:
        # A client that left by itself has what it acknowledged before.
        left_early = self._is_at_end and not self._is_acknowledged()
        self._was_taken = exc is None and not self._is_dropped and not left_early
        self._lost.set()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().connection_lost(exc)

    @property
    def waiting_since(self) -> float | None:
        return None if self._is_answering() else self._idle_since

    def drop(self) -> None:
        self._is_dropped = True
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # the answer to an earlier request is under way
            self.drop()
        if self._is_answering():
            # The head was sound and is being answered, the body is not: that answer has nowhere to go any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _ask(self) -> None:
        self._asking = True
        self._idle_since = self.loop.time()
        self._expect(self.request_s)

    def _is_answering(self) -> bool:
        # uvicorn has no cycle before the first request, whatever the annotation says.
        return bool(self.cycle) and not self.cycle.response_complete

    def _expect(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        untaken = self.transport.get_write_buffer_size() > 0
        if self._asking or untaken or self._is_answering():
            self.drop()
