"""Asking the log: a query in, an answer or a classified failure out."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

import httpx

from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.credentials import Credentials, CredentialsError
from infobip_exporter.infobip.headers import date_ms, retry_after_s
from infobip_exporter.infobip.http import Http
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.refusal import describe_refusal, log_hint
from infobip_exporter.model.labels import Label
from infobip_exporter.model.record import Answer, Page
from infobip_exporter.model.secret import Secret

_LARGEST_INLINE = 1024 * 1024
"""Larger bodies are decoded in a thread. A page of 1000 rows is 600 KB and decoded in 3 ms, less than a thread that
computes delays the loop (sys.getswitchinterval, 5 ms)."""


class Client:
    """Asks one log of one account; any number of requests may be under way at once.

    `timeout_s` is for a whole request. `labels` are read on request. `unspeakable` is what no failure's text may repeat beside what `credentials`
    name. `wall_s` (seconds since the epoch) replaces the clock with which a Retry-After is compared.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        credentials: Credentials,
        filters: Mapping[str, str],
        timeout_s: float,
        transport: httpx.AsyncBaseTransport,
        *,
        labels: tuple[Label, ...] = (),
        unspeakable: Iterable[str] = (),
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = base_url.rstrip("/") + path
        self._channel = path.strip("/").split("/", 1)[0]
        self._credentials = credentials
        self._filters = dict(filters)
        self._labels = labels
        # A destination is personal data.
        self._unspeakable = (*unspeakable, self._filters.get("destination", ""))
        self._wall_s = wall_s
        self._refused: Secret | None = None
        """The header of the last request that was refused; None where there was none to send."""
        self._http = Http(transport, timeout_s)

    async def prepare(self) -> None:
        """Get what has to be asked for before `fetch`, such as a token. Raises TokenFailed."""
        await self._credentials.prepare()

    async def fetch(self, query: Query) -> Answer:
        """The log's answer to `query`. Cancelling ends the request at once.

        Raises RequestFailed: `code` is the HTTP status, `timeout`, `connection` or `invalid_body`; it is empty where no
        request was made, for want of a key or because the client is closed.
        """
        try:
            header = self._credentials.header()
            unspeakable = (*self._credentials.unspeakable(), *self._unspeakable)
        except CredentialsError as error:
            self._refused = None
            raise RequestFailed("", str(error)) from None
        reply = await self._http.ask(
            "GET",
            self._url,
            headers={"Authorization": header.reveal()},
            parameters=query.parameters(self._filters),
            unspeakable=unspeakable,
        )
        if reply.status == HTTPStatus.OK:
            try:
                page = await _decode(reply.body, self._labels)
            except InvalidBody as error:
                raise RequestFailed("invalid_body", str(error), took_s=reply.took_s) from None
            return Answer(page, date_ms(reply.headers), reply.took_s, reply.asked_s, reply.received_s)
        if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._refused = header
        if reply.status == HTTPStatus.UNAUTHORIZED:
            self._credentials.refused(header)
        hint = log_hint(reply.status, self._channel, self._credentials.refusal)
        raise RequestFailed(
            str(reply.status),
            describe_refusal(reply.status, reply.body, hint, unspeakable),
            retry_after_s=retry_after_s(reply.headers, self._wall_s()),
            took_s=reply.took_s,
        )

    def has_new_key(self) -> bool:
        """Whether there is another key, password or token than the last refused request was made with."""
        return self._credentials.renewed(self._refused)

    async def close(self) -> None:
        """Close the idle connections, any number of times. Requests still under way are for the caller to cancel."""
        await self._http.close()


async def _decode(body: bytes, labels: tuple[Label, ...]) -> Page:
    if len(body) <= _LARGEST_INLINE:
        return decode_page(body, labels)
    return await asyncio.to_thread(decode_page, body, labels)
