"""Access tokens by OAuth2 client credentials (RFC 6749, 4.4): fetched, shared by an account's channels, renewed."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from random import Random
from urllib.parse import urlencode

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error

from infobip_exporter.config import rules
from infobip_exporter.errors import RequestFailed, TokenFailed
from infobip_exporter.infobip.backoff import Backoff
from infobip_exporter.infobip.credentials import CredentialsError, Source
from infobip_exporter.infobip.headers import retry_after_s
from infobip_exporter.infobip.http import Http, Reply
from infobip_exporter.infobip.lenient import parse_json
from infobip_exporter.infobip.refusal import describe_refusal
from infobip_exporter.model.secret import Secret

TOKEN_PATH = "/auth/1/oauth2/token"  # noqa: S105 - Infobip's token endpoint
RENEW_BEFORE_S = 60.0
RENEW_IN_LAST_SHARE = 0.2
"""A token is renewed in the last minute of its life, or in the last fifth where it lives for less than five."""
REFUSED_APART_S = 60.0
"""A token refused so soon after another is not replaced at once: a new one would hardly fare better."""
_LONGEST_LIFE_S = 10**9

_WRONG_PLACE = "token_url looks wrong"
_WRONG_CLIENT = "client_id or client_secret is wrong"
_HINTS = {
    "invalid_client": _WRONG_CLIENT,
    "invalid_scope": "the client may not ask for these scopes",
    "unauthorized_client": "the client may not use client credentials",
    400: "look at client_id, client_secret, scopes and endpoint_params",
    401: _WRONG_CLIENT,
    403: "the client may not get tokens, or not from this address",
    404: _WRONG_PLACE,
    405: _WRONG_PLACE,
    407: "the proxy wants other credentials",
    410: _WRONG_PLACE,
}
"""What a refusal may mean, by the error (RFC 6749, 5.2), else by the status."""


class OAuth2Credentials:
    """The token of one account, fetched by whoever needs it first.

    A failure holds for all until its back-off is over, or another client secret is there. `open_http` gives what the
    token endpoint is asked through.
    """

    refusal = "the API does not accept the token"

    def __init__(
        self,
        client_id: str,
        secret: Source,
        token_url: str,
        open_http: Callable[[], Http],
        *,
        scopes: Iterable[str] = (),
        endpoint_params: Mapping[str, Secret] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._client_id = client_id
        self._source = secret
        self._token_url = token_url
        self._open_http = open_http
        self._scopes: list[object] = list(scopes)
        self._endpoint_params = dict(endpoint_params or {})
        self._monotonic_s = monotonic_s
        self._backoff = Backoff(rng or Random(), base_s=5.0, cap_s=300.0, floor_s=1.0)
        self._lock = asyncio.Lock()
        self._token: Secret | None = None
        self._renew_s = self._expires_s = float("-inf")
        self._secret = Secret("")
        """The client secret of the last token request."""
        self._failure: RequestFailed | None = None
        self._resume_s = float("-inf")
        self._refused_s = float("-inf")
        self._at_once = False
        """Whether the token that was refused may be replaced without a wait."""

    async def prepare(self) -> None:
        if self._is_fresh:
            return
        async with self._lock:
            if not self._is_fresh:
                await self._renew()

    def header(self) -> Secret:
        if self._token is None:
            raise CredentialsError("there is no token yet")
        return Secret(f"Bearer {self._token.reveal()}")

    def refused(self, header: Secret) -> None:
        if self._token is None or header != self.header():
            return  # it has been replaced meanwhile
        now = self._monotonic_s()
        self._at_once = now - self._refused_s > REFUSED_APART_S
        self._refused_s = now
        self._token = None

    def renewed(self, header: Secret | None) -> bool:
        return self._at_once if self._token is None else self.header() != header

    def unspeakable(self) -> tuple[str, ...]:
        return (self._token.reveal() if self._token else "", self._secret.reveal())

    @property
    def _is_fresh(self) -> bool:
        return self._token is not None and self._monotonic_s() < self._renew_s

    async def _renew(self) -> None:
        """Get a token. Raises TokenFailed where there is none and the last has expired."""
        try:
            secret = self._source()
        except CredentialsError as error:
            raise TokenFailed("", str(error)) from None
        asked_s = self._monotonic_s()
        if self._failure is None or asked_s >= self._resume_s or secret != self._secret:
            self._secret = secret
            try:
                await self._fetch(secret.reveal())
            except RequestFailed as failure:
                self._failure = failure
                self._resume_s = self._monotonic_s() + self._backoff.next_s(failure.retry_after_s)
            else:
                self._failure = None
                self._backoff.reset()
                return
        now = self._monotonic_s()
        if self._token is None or now >= self._expires_s:
            raise TokenFailed(
                self._failure.code, self._failure.text, retry_after_s=max(0.0, self._resume_s - now)
            )

    async def _fetch(self, secret: str) -> None:
        """Ask for a token. Raises RequestFailed."""
        client = BackendApplicationClient(self._client_id)
        params = {name: value.reveal() for name, value in self._endpoint_params.items()}
        body = client.prepare_request_body(
            urlencode(params), self._scopes or None, include_client_id=True, client_secret=secret
        )
        asked_s = self._monotonic_s()
        http = self._open_http()
        unspeakable = (secret, *params.values())
        try:
            reply = await http.ask(
                "POST",
                self._token_url,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                content=body,
                unspeakable=unspeakable,
            )
        finally:
            await http.close()
        if reply.status != HTTPStatus.OK:
            raise RequestFailed(
                str(reply.status),
                describe_refusal(reply.status, reply.body, _hint(reply), unspeakable),
                retry_after_s=retry_after_s(reply.headers, time.time()),
            )
        self._token, life_s = _read_token(client, reply.body)
        self._expires_s = asked_s + life_s
        self._renew_s = self._expires_s - min(RENEW_BEFORE_S, RENEW_IN_LAST_SHARE * life_s)


def _hint(reply: Reply) -> str:
    if 300 <= reply.status < 400:
        return f"the token endpoint does not redirect: {_WRONG_PLACE}"
    try:
        answer = parse_json(reply.body)
    except ValueError:
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    return _HINTS.get(str(error)) or _HINTS.get(reply.status, "")


def _read_token(client: BackendApplicationClient, body: bytes) -> tuple[Secret, float]:
    """The token and its life in seconds, endless where that is not told. Raises RequestFailed."""
    try:
        answer = client.parse_request_body_response(body.decode())
        token = answer["access_token"]
        life_s = answer.get("expires_in", _LONGEST_LIFE_S)
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError, OAuth2Error):
        raise RequestFailed("invalid_body", f"the answer holds no token; {_WRONG_PLACE}") from None
    try:
        secret = rules.token(token if isinstance(token, str) else "")
    except ValueError:
        raise RequestFailed("invalid_body", "the answer holds a token that no header can carry") from None
    return secret, float(max(0, min(life_s, _LONGEST_LIFE_S)))
