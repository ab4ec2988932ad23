"""Asking the API: one question in, an answer or a classified failure out."""

import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus

import httpcore
import httpx

from infobip_exporter import __version__
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.credentials import Credentials, CredentialsError
from infobip_exporter.infobip.headers import date_ms, retry_after_s
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.refusal import LONGEST_TEXT, cleaned, describe_refusal
from infobip_exporter.infobip.transport import DeadlineTransport
from infobip_exporter.model.record import Answer
from infobip_exporter.model.secret import Secret

LARGEST_BODY = 64 * 1024 * 1024
"""No page of 1000 rows comes near this. Counted unpacked."""
_LARGEST_ERROR_BODY = 64 * 1024

# They log whole addresses, and a query may name a destination.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

_TIMEOUTS = (httpx.TimeoutException, httpcore.TimeoutException)
_BROKEN = (
    httpx.TransportError,
    httpx.StreamError,
    httpx.InvalidURL,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    OSError,
)
_CUT = re.compile("peer closed connection|Server disconnected|incomplete", re.IGNORECASE)


class Client:
    """Asks one log of one account.

    `timeout_s` is for a whole request, to its last byte. `transport` replaces the network, `clock` (monotonic seconds)
    and `wall_s` (seconds since the epoch) the clocks. One question at a time: `ask` waits for the one before.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        credentials: Credentials,
        filters: Mapping[str, str],
        timeout_s: float,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = base_url.rstrip("/") + path
        self._channel = path.strip("/").split("/", 1)[0]
        self._credentials = credentials
        self._filters = dict(filters)
        self._timeout_s = timeout_s
        self._clock = clock
        self._wall_s = wall_s
        self._transport = transport or DeadlineTransport(base_url, clock)
        self._http = httpx.Client(
            transport=self._transport,
            timeout=None,  # noqa: S113 - the deadline of each request is kept below and by DeadlineTransport
            follow_redirects=False,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"infobip-exporter/{__version__}",
            },
        )
        self._asking = threading.Lock()
        self._closed = threading.Event()

    def ask(self, question: Query) -> Answer:
        """The log's answer to `question`.

        Raises RequestFailed: `code` is the HTTP status, `timeout`, `connection` or `invalid_body`; it is empty where no
        request was made, for want of a key or because the client is closed.
        """
        try:
            with self._asking:
                if self._closed.is_set():
                    raise RequestFailed("", "the client is closed")
                attempt = _Attempt(self._key(), self._filters, self._clock, self._timeout_s)
                return self._ask(question, attempt)
        finally:
            self._release_if_closed()

    def has_new_key(self) -> bool:
        """Whether there may be another key than the last question was asked with."""
        return self._credentials.renewed()

    def close(self) -> None:
        """End the question under way, if any, and give the connections back. From any thread, any number of times."""
        self._closed.set()
        if isinstance(self._transport, DeadlineTransport):
            self._transport.interrupt()
        self._release_if_closed()

    def _release_if_closed(self) -> None:
        """Whoever comes last, `ask` or `close`, closes the connections: never under a thread that reads."""
        if self._closed.is_set() and self._asking.acquire(blocking=False):
            self._http.close()
            self._asking.release()

    def _key(self) -> Secret:
        try:
            return self._credentials.key()
        except CredentialsError as error:
            raise RequestFailed("", str(error)) from None

    def _ask(self, question: Query, attempt: "_Attempt") -> Answer:
        parameters = question.parameters(self._filters)
        deadline = {"deadline": attempt.deadline}
        try:
            request = self._http.build_request("GET", self._url, params=parameters, extensions=deadline)
            response = self._http.send(request, auth=attempt, stream=True)
            try:
                if response.status_code != HTTPStatus.OK:
                    raise self._refusal(response, attempt)
                body = b"".join(attempt.chunks(response, LARGEST_BODY))
            finally:
                response.close()
            took_s = attempt.took_s()
            return Answer(decode_page(body), date_ms(response.headers), took_s)
        except _TIMEOUTS:
            raise attempt.failed("timeout", f"no whole answer within {self._timeout_s:g} s") from None
        except httpx.DecodingError:
            raise attempt.failed("invalid_body", "the answer's compression is broken") from None
        except InvalidBody as error:
            raise attempt.failed("invalid_body", str(error)) from None
        except _BROKEN as error:
            raise attempt.failed("connection", _reason(error)) from None

    def _refusal(self, response: httpx.Response, attempt: "_Attempt") -> RequestFailed:
        status = response.status_code
        if status == HTTPStatus.UNAUTHORIZED:
            self._credentials.refused()
        body = bytearray()
        # What there is of the body is enough: the status has arrived and says the most.
        with suppress(*_TIMEOUTS, *_BROKEN, httpx.DecodingError, InvalidBody):
            for chunk in attempt.chunks(response, _LARGEST_ERROR_BODY):
                body += chunk
        text = describe_refusal(status, bytes(body), self._channel, attempt.unspeakable)
        return attempt.failed(str(status), text, retry_after_s(response.headers, self._wall_s()))


class _Attempt(httpx.Auth):
    """A question under way: it puts the key into the request, keeps the deadline and words the failures."""

    def __init__(
        self, key: Secret, filters: Mapping[str, str], clock: Callable[[], float], timeout_s: float
    ) -> None:
        self._key = key
        self._clock = clock
        self._started = clock()
        self._destination = Secret(filters.get("destination", ""))
        self.deadline = self._started + timeout_s

    @property
    def unspeakable(self) -> tuple[str, ...]:
        """What an error's text must not repeat: the key, and personal data among the filters."""
        return self._key.reveal(), self._destination.reveal()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"App {self._key.reveal()}"
        yield request

    def took_s(self) -> float:
        return self._clock() - self._started

    def chunks(self, response: httpx.Response, most: int) -> Iterator[bytes]:
        """The unpacked body, as long as it stays within `most` bytes and the deadline."""
        size = 0
        for chunk in response.iter_bytes():
            if self._clock() >= self.deadline:
                raise httpx.ReadTimeout("the deadline has passed")
            size += len(chunk)
            if size > most:
                raise InvalidBody(f"the answer is larger than {most >> 20} MiB")
            yield chunk

    def failed(self, code: str, text: str, retry_after_s: float | None = None) -> RequestFailed:
        line = cleaned(text, self.unspeakable)[:LONGEST_TEXT]
        return RequestFailed(code, line, retry_after_s=retry_after_s, took_s=self.took_s())


def _reason(error: Exception) -> str:
    """What broke, without the server's bytes: the text of a protocol error may repeat them."""
    text = str(error)
    if not isinstance(error, httpx.ProtocolError | httpcore.ProtocolError) or _CUT.match(text):
        return text or type(error).__name__
    return "the answer is not proper HTTP"
