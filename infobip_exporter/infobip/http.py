"""One request over HTTP: within a deadline, the answer bounded, every failure classified."""

import asyncio
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio
import httpx

from infobip_exporter import __version__
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import InvalidBody
from infobip_exporter.infobip.refusal import LONGEST_TEXT, cleaned

LARGEST_BODY = 16 * 1024 * 1024
"""No page of 1000 rows comes near this. Counted unpacked."""
_LARGEST_ERROR_BODY = 64 * 1024
_LARGEST_PIECE = 256 * 1024
"""Bodies are unpacked in such pieces, within a millisecond each."""

# They log whole addresses, and a query may name a destination.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

_FAILURES = (
    OSError,  # TimeoutError and ssl.SSLError are some, too
    httpx.TransportError,
    httpx.StreamError,
    httpx.InvalidURL,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    InvalidBody,
)
_ABOUT_TO_SEND = "http11.send_request_headers.started"
"""By httpcore's trace extension: the connection stands. Through a proxy, the last of several is the request's own."""
_CUT = re.compile("peer closed connection|Server disconnected|incomplete", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with any status. Times are the loop's: when the request was sent and the headers came, in seconds."""

    status: int
    headers: httpx.Headers
    body: bytes
    asked_s: float
    received_s: float
    took_s: float


class Http:
    """Makes requests through `transport`; any number of them may be under way at once.

    `timeout_s` is for a whole request, from looking up the name to the last byte.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=None,  # noqa: S113 - `ask` keeps one deadline for all steps
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"infobip-exporter/{__version__}",
            },
        )

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        unspeakable: Iterable[str],
        parameters: Mapping[str, str] | None = None,
        content: str | None = None,
    ) -> Reply:
        """The answer. Cancelling ends the request at once.

        Raises RequestFailed: `code` is `timeout`, `connection` or `invalid_body`, and empty where the client is closed;
        its text repeats none of `unspeakable`.
        """
        if self._http.is_closed:
            raise RequestFailed("", "the client is closed")
        clock = asyncio.get_running_loop().time
        started = asked_s = clock()

        async def trace(event: str, _: object) -> None:
            nonlocal asked_s
            if event == _ABOUT_TO_SEND:
                asked_s = clock()

        response: httpx.Response | None = None
        received_s = started
        body: list[bytes] = []
        try:
            async with (
                asyncio.timeout_at(started + self._timeout_s),
                self._http.stream(
                    method,
                    url,
                    params=parameters,
                    content=content,
                    headers=headers,
                    extensions={"trace": trace},
                ) as response,
            ):
                received_s = clock()
                await _read(response, body)
        except _FAILURES as error:
            if response is None or response.status_code == HTTPStatus.OK:
                code, text = self._code_and_text(error)
                text = cleaned(text, unspeakable)[:LONGEST_TEXT]
                raise RequestFailed(code, text, took_s=clock() - started) from None
            # Another status says the most, however its body ended.
        return Reply(
            response.status_code, response.headers, b"".join(body), asked_s, received_s, clock() - started
        )

    async def close(self) -> None:
        """Close the idle connections, any number of times. Requests still under way are for the caller to cancel."""
        await self._http.aclose()

    def _code_and_text(self, error: Exception) -> tuple[str, str]:
        match error:
            case TimeoutError() | httpx.TimeoutException():
                return "timeout", f"no whole answer within {self._timeout_s:g} s"
            case InvalidBody():
                return "invalid_body", str(error)
            case httpx.ProxyError():
                return "connection", f"the proxy answered {error}"
            case httpx.ProtocolError() if not _CUT.match(str(error)):
                # The error's text may repeat bytes of the answer.
                return "connection", "the answer is not proper HTTP"
            case _:
                return "connection", str(error) or _reason(error)


def _reason(error: Exception) -> str:
    """What the system or TLS says, where the error itself says nothing."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and str(cause)):
        cause = cause.__cause__ or cause.__context__
    return str(cause) if cause else type(error).__name__


async def _read(response: httpx.Response, body: list[bytes]) -> None:
    """Append the pieces of the unpacked body of `response` to `body`; of a refusal, no more than its text needs.

    Raises InvalidBody for one that is too large, or in an encoding that was not asked for.
    """
    most = LARGEST_BODY if response.status_code == HTTPStatus.OK else _LARGEST_ERROR_BODY
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise InvalidBody(f'the answer has the encoding "{encoding}", which was not asked for')
    packed = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 16)
    size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - it is one in every answer to AsyncClient
    try:
        async for data in response.stream:
            for piece in [data] if packed is None else _unpacked(packed, data):
                body.append(piece)
                size += len(piece)
                if size > most:
                    raise InvalidBody(f"the answer is larger than {most >> 20} MiB")
                if len(piece) == _LARGEST_PIECE:
                    await asyncio.sleep(0)  # there are more of them, and others must not wait for all
    except zlib.error:
        raise InvalidBody("the answer's compression is broken") from None
    if packed is not None and not packed.eof:
        raise InvalidBody("the answer's compression is broken")


def _unpacked(packed: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """What `data` unpacks to, in pieces. Raises zlib.error, also for anything after the end."""
    piece = b""
    while data or len(piece) == _LARGEST_PIECE:
        piece = packed.decompress(data, _LARGEST_PIECE)
        data = packed.unconsumed_tail
        if packed.unused_data:
            raise zlib.error
        yield piece
