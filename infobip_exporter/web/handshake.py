"""The TLS handshake before a connection, under the same rules: not waited for, counted, and the first to make room.

asyncio would do the handshake by itself, but for a minute, uncounted and with settings fixed from the start. Here each
connection gets those in force when it comes, so that a renewed certificate needs no restart.
"""

import asyncio
from collections.abc import Callable, MutableSet
from typing import Any

import structlog

from infobip_exporter.web.guest import Guest, make_room
from infobip_exporter.web.tls import Tls

HANDSHAKE_S = 10.0
"""For the handshake, in seconds from connecting."""

_log = structlog.get_logger()

_GOODBYE_S = 5.0
"""For the client to say that it has read to the end, in seconds."""


class Handshake(asyncio.Protocol, Guest):
    """A connection that is not secure yet. When it is, `make_connection` takes over; until then it is a guest itself."""

    def __init__(
        self,
        tls: Tls,
        guests: MutableSet[Any],
        most: int,
        make_connection: Callable[[], asyncio.Protocol],
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        self._tls = tls
        self._guests = guests
        self._most = most
        self._make_connection = make_connection
        self._handshake_s = handshake_s
        self._loop = asyncio.get_running_loop()
        self._early: list[bytes] = []
        self._has_ended = False
        self._since = self._loop.time()

    @property
    def waiting_since(self) -> float:
        return self._since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.pause_reading()  # What comes first is the handshake's.
        self._guests.add(self)
        self._task = self._loop.create_task(self._shake_hands())
        if dropped := make_room(self._guests, self._most, self):
            self._guests.discard(dropped)

    def drop(self) -> None:
        self._transport.abort()

    def shutdown(self) -> None:
        """As uvicorn calls it when it ends."""
        self.drop()

    # What the client may do between the end of the handshake and the moment when we are told of it

    def data_received(self, data: bytes) -> None:
        self._early.append(data)

    def eof_received(self) -> None:
        self._has_ended = True

    async def _shake_hands(self) -> None:
        try:
            secured = await self._loop.start_tls(
                self._transport,
                self,
                self._tls.context,
                server_side=True,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=_GOODBYE_S,
            )
        except OSError as error:
            # Refused, too slow, gone, or no TLS at all: the client's business, and closed by asyncio.
            self._tell(getattr(error, "reason", None) or str(error) or type(error).__name__)
            return
        finally:
            self._guests.discard(self)
        if secured is None:
            return  # Dropped or gone, which asyncio does not always call an error.
        if not self._tls.admits(secured.get_extra_info("peercert")):
            self._tell("its certificate has none of client_allowed_sans")
            secured.abort()
            return
        self._hand_over(secured)

    def _tell(self, reason: str) -> None:
        peer = self._transport.get_extra_info("peername")
        # Not worth a line by default: anybody can cause as many as they like.
        _log.debug("no TLS with a client", client=peer[0] if peer else "unix socket", reason=reason)

    def _hand_over(self, secured: asyncio.Transport) -> None:
        connection = self._make_connection()
        secured.set_protocol(connection)
        connection.connection_made(secured)
        for data in self._early:
            connection.data_received(data)
        if self._has_ended:
            connection.eof_received()
