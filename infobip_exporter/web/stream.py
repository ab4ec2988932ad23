"""The bytes of a connection, in the clear or secured by TLS.

asyncio's own TLS keeps a buffer of 256 KB for each connection, and longer than the connection: its objects form cycles.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Protocol


class Stream(Protocol):
    """Both directions of a connection."""

    async def read(self, most: int) -> bytes:
        """The next bytes, up to `most`; none at the end."""

    async def write(self, data: bytes) -> None:
        """Send `data`, and wait until the kernel has taken it."""

    async def close(self) -> None:
        """Say that nothing more comes, and wait for the client to agree."""


class PlainStream:
    """A connection without TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, most: int) -> bytes:
        return await self._reader.read(most)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        del data  # what the kernel did not take is in the transport's buffer
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class SecureStream:
    """TLS over `below`. `shake_hands` comes first. Raises ssl.SSLError where the client does not keep to TLS."""

    PIECE = 16 * 1024
    """Bytes that are read at a time, the size of a TLS record."""

    def __init__(self, below: Stream, context: ssl.SSLContext) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def shake_hands(self) -> dict[str, Any]:
        """Agree on how to go on; returns the client's certificate, empty where there is none."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    raise ConnectionResetError("the client left") from None
            except ssl.SSLError:
                await self._flush()  # tells the client why
                raise
            else:
                await self._flush()
                return dict(self._tls.getpeercert() or {})

    async def read(self, most: int) -> bytes:
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    return b""
            except ssl.SSLZeroReturnError:
                return b""

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        del data
        await self._flush()

    async def close(self) -> None:
        with suppress(ssl.SSLError):  # the client has not said so yet, and need not
            self._tls.unwrap()
        await self._flush()
        await self._below.close()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._below.write(self._outgoing.read())

    async def _feed(self) -> bool:
        """Take in more from the client; False at its end."""
        data = await self._below.read(self.PIECE)
        self._incoming.write(data)
        return bool(data)
