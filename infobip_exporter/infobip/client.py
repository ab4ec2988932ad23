"""Asking the API: a query in, an answer or a classified failure out."""

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio
import httpx

from infobip_exporter import __version__
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.credentials import Credentials, CredentialsError
from infobip_exporter.infobip.headers import date_ms, retry_after_s
from infobip_exporter.infobip.network import NetworkTransport
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.refusal import LONGEST_TEXT, cleaned, describe_refusal
from infobip_exporter.model.record import Answer, Page

LARGEST_BODY = 16 * 1024 * 1024
"""No page of 1000 rows comes near this. Counted unpacked."""
_LARGEST_ERROR_BODY = 64 * 1024
_LARGEST_PIECE = 256 * 1024
"""Bodies are unpacked in such pieces, within a millisecond each."""
_LARGEST_INLINE = 1024 * 1024
"""Larger bodies are decoded in a thread. A page of 1000 rows is 600 KB and decoded in 3 ms, less than a thread that
computes delays the loop (sys.getswitchinterval, 5 ms)."""

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


class Client:
    """Asks one log of one account; any number of requests may be under way at once.

    `timeout_s` is for a whole request, from looking up the name to the last byte. `transport` replaces the network,
    `wall_s` (seconds since the epoch) the clock with which a Retry-After is compared. Raises ConfigError for a proxy
    or certificate authorities that can't be used.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        credentials: Credentials,
        filters: Mapping[str, str],
        timeout_s: float,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = base_url.rstrip("/") + path
        self._channel = path.strip("/").split("/", 1)[0]
        self._credentials = credentials
        self._filters = dict(filters)
        self._timeout_s = timeout_s
        self._wall_s = wall_s
        self._http = httpx.AsyncClient(
            transport=transport or NetworkTransport(base_url),
            timeout=None,  # noqa: S113 - `fetch` keeps one deadline for all steps
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"infobip-exporter/{__version__}",
            },
        )

    async def fetch(self, query: Query) -> Answer:
        """The log's answer to `query`. Cancelling ends the request at once.

        Raises RequestFailed: `code` is the HTTP status, `timeout`, `connection` or `invalid_body`; it is empty where no
        request was made, for want of a key or because the client is closed.
        """
        if self._http.is_closed:
            raise RequestFailed("", "the client is closed")
        try:
            key = self._credentials.key().reveal()
        except CredentialsError as error:
            raise RequestFailed("", str(error)) from None
        clock = asyncio.get_running_loop().time
        started = asked_s = clock()

        async def trace(event: str, _: object) -> None:
            nonlocal asked_s
            if event == _ABOUT_TO_SEND:
                asked_s = clock()

        response: httpx.Response | None = None
        body = bytearray()
        try:
            async with (
                asyncio.timeout_at(started + self._timeout_s),
                self._http.stream(
                    "GET",
                    self._url,
                    params=query.parameters(self._filters),
                    headers={"Authorization": f"App {key}"},
                    extensions={"trace": trace},
                ) as response,
            ):
                received_s = clock()
                await _read(response, body)
            took_s = clock() - started
            if response.status_code == HTTPStatus.OK:
                page = await _decode(bytes(body))
                return Answer(page, date_ms(response.headers), took_s, asked_s, received_s)
        except _FAILURES as error:
            took_s = clock() - started
            if response is None or response.status_code == HTTPStatus.OK:
                code, text = self._code_and_text(error)
                raise RequestFailed(code, self._cleaned(text, key), took_s=took_s) from None
            # Another status says the most, however its body ended.
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._credentials.refused()
        raise RequestFailed(
            str(response.status_code),
            describe_refusal(response.status_code, bytes(body), self._channel, self._unspeakable(key)),
            retry_after_s=retry_after_s(response.headers, self._wall_s()),
            took_s=took_s,
        )

    def has_new_key(self) -> bool:
        """Whether there may be another key than the last request was made with."""
        return self._credentials.renewed()

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
                return (
                    "connection",
                    "the answer is not proper HTTP",
                )  # the error's text may repeat bytes of it
            case _:
                return "connection", str(error) or type(error).__name__

    def _cleaned(self, text: str, key: str) -> str:
        return cleaned(text, self._unspeakable(key))[:LONGEST_TEXT]

    def _unspeakable(self, key: str) -> tuple[str, str]:
        """What an error's text must not repeat: the key, and personal data among the filters."""
        return key, self._filters.get("destination", "")


async def _read(response: httpx.Response, body: bytearray) -> None:
    """Append the unpacked body of `response` to `body`; of a refusal, no more than its text needs.

    Raises InvalidBody for one that is too large, or in an encoding that was not asked for.
    """
    most = LARGEST_BODY if response.status_code == HTTPStatus.OK else _LARGEST_ERROR_BODY
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise InvalidBody(f'the answer has the encoding "{encoding}", which was not asked for')
    packed = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - it is one in every answer to AsyncClient
    try:
        async for data in response.stream:
            for piece in [data] if packed is None else _unpacked(packed, data):
                body += piece
                if len(body) > most:
                    raise InvalidBody(f"the answer is larger than {most >> 20} MiB")
                await asyncio.sleep(0)
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


async def _decode(body: bytes) -> Page:
    return decode_page(body) if len(body) <= _LARGEST_INLINE else await asyncio.to_thread(decode_page, body)
