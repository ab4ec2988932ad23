"""Access tokens: when they are asked for, renewed and given up."""

import asyncio
import re
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infobip_exporter.config import rules
from infobip_exporter.errors import TokenFailed
from infobip_exporter.infobip.credentials import CredentialsError, SecretFile, Source, fixed
from infobip_exporter.infobip.http import Http
from infobip_exporter.infobip.oauth2 import OAuth2Credentials
from infobip_exporter.model.secret import Secret

CLIENT_SECRET = "cl13nt-s3cr3t"
URL = "https://x.api.infobip.com/auth/1/oauth2/token"

T = TypeVar("T")


class Endpoint:
    """A token endpoint that gives `token-1`, `token-2` and so on, or answers `answer`; time passes by hand."""

    def __init__(self, life_s: Any = 3600, source: Source | None = None, **changes: Any) -> None:
        self.now_s = 0.0
        self.life_s = life_s
        self.answer: httpx.Response | Exception | None = None
        self.requests: list[httpx.Request] = []
        self.credentials = OAuth2Credentials(
            "shop",
            source or fixed(Secret(CLIENT_SECRET)),
            URL,
            lambda: Http(httpx.MockTransport(self._answer), 10.0),
            monotonic_s=lambda: self.now_s,
            rng=Random(1),
            **changes,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        token = {"access_token": f"token-{len(self.requests)}", "expires_in": self.life_s}
        return httpx.Response(200, json={name: value for name, value in token.items() if value is not None})

    async def header(self) -> str:
        await self.credentials.prepare()
        return self.credentials.header().reveal()

    async def failure(self) -> TokenFailed:
        with pytest.raises(TokenFailed) as failed:
            await self.credentials.prepare()
        return failed.value


def refused(status: int = 401, error: str = "invalid_client", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": error, "error_description": "no"}, headers=headers)


async def test_the_token_is_asked_for_as_infobip_documents_it() -> None:
    endpoint = Endpoint(
        scopes=("instagram:logs:read", "sms:logs:read"), endpoint_params={"a&b": Secret("ü +")}
    )
    assert await endpoint.header() == "Bearer token-1"
    [request] = endpoint.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Accept"] == "application/json"
    assert "Authorization" not in request.headers
    assert parse_qs(request.content.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["shop"],
        "client_secret": [CLIENT_SECRET],
        "scope": ["instagram:logs:read sms:logs:read"],
        "a&b": ["ü +"],
    }


async def test_without_scopes_none_are_named() -> None:
    endpoint = Endpoint()
    await endpoint.header()
    assert "scope" not in parse_qs(endpoint.requests[0].content.decode())


async def test_all_who_need_a_token_at_once_share_one() -> None:
    endpoint = Endpoint()
    assert set(await asyncio.gather(*(endpoint.header() for _ in range(14)))) == {"Bearer token-1"}
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("life_s", "renewed_s"), [(3600, 3540), (100, 80), ("300", 240), (10**400, 10**9 - 60)]
)
async def test_a_token_is_renewed_before_it_expires(life_s: Any, renewed_s: float) -> None:
    endpoint = Endpoint(life_s)
    await endpoint.header()
    endpoint.now_s = renewed_s - 1
    assert await endpoint.header() == "Bearer token-1"
    endpoint.now_s = renewed_s
    assert await endpoint.header() == "Bearer token-2"


async def test_a_token_whose_life_is_not_told_is_used_until_it_is_refused() -> None:
    endpoint = Endpoint(None)
    first = Secret(await endpoint.header())
    endpoint.now_s = 1e8
    assert await endpoint.header() == first.reveal()
    endpoint.credentials.refused(first)
    assert await endpoint.header() == "Bearer token-2"


async def test_while_a_renewal_fails_the_last_token_serves_until_it_expires() -> None:
    endpoint = Endpoint(3600)
    await endpoint.header()
    endpoint.answer = httpx.Response(503)
    endpoint.now_s = 3590
    assert await endpoint.header() == "Bearer token-1"
    endpoint.now_s = 3600
    assert (await endpoint.failure()).code == "503"


async def test_a_refused_token_is_replaced_at_once_but_not_one_that_is_refused_soon_after() -> None:
    endpoint = Endpoint()
    credentials = endpoint.credentials
    first = Secret(await endpoint.header())
    endpoint.now_s = 1000
    credentials.refused(first)
    assert credentials.renewed(first)
    second = Secret(await endpoint.header())
    assert second != first
    assert credentials.renewed(first)
    assert not credentials.renewed(second)
    credentials.refused(first)  # by a request that was under way: the new token is not to blame
    assert credentials.header() == second
    endpoint.now_s = 1050
    credentials.refused(second)
    assert not credentials.renewed(second)
    third = Secret(await endpoint.header())
    endpoint.now_s = 1111
    credentials.refused(third)
    assert credentials.renewed(third)


async def test_a_failure_holds_for_all_until_its_back_off_is_over() -> None:
    endpoint = Endpoint()
    endpoint.answer = refused()
    waits_s = []
    for round_ in range(6):
        failures = [await endpoint.failure() for _ in range(3)]
        assert len(endpoint.requests) == round_ + 1
        wait_s = failures[0].retry_after_s
        assert wait_s
        waits_s.append(wait_s)
        endpoint.now_s += wait_s
    assert all(1 <= wait_s <= 300 for wait_s in waits_s)
    assert max(waits_s) > 10
    endpoint.answer = None
    assert (await endpoint.header()).startswith("Bearer")


async def test_a_wait_that_the_endpoint_asks_for_is_the_least() -> None:
    endpoint = Endpoint()
    endpoint.answer = httpx.Response(429, headers={"Retry-After": "200"})
    assert ((await endpoint.failure()).retry_after_s or 0) >= 200


async def test_another_client_secret_in_the_file_ends_the_back_off(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    endpoint = Endpoint(source=SecretFile(path, "client_secret_file", rules.password))

    assert (await endpoint.failure()).code == ""
    assert endpoint.requests == []
    path.write_text("wrong\n")
    endpoint.answer = refused()
    await endpoint.failure()
    await endpoint.failure()
    assert len(endpoint.requests) == 1
    path.write_text("right one\n")
    endpoint.answer = None
    await endpoint.header()
    assert parse_qs(endpoint.requests[-1].content.decode())["client_secret"] == ["right one"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refused(), "token request: 401: invalid_client: no; client_id or client_secret is wrong"),
        (refused(400), "token request: 400: invalid_client: no; client_id or client_secret is wrong"),
        (
            refused(400, "invalid_scope"),
            "token request: 400: invalid_scope: no; the client may not ask for these scopes",
        ),
        (
            refused(400, "invalid_request"),
            "token request: 400: invalid_request: no; look at client_id, client_secret, scopes and endpoint_params",
        ),
        (httpx.Response(404), "token request: 404: Not Found; token_url looks wrong"),
        (
            httpx.Response(302),
            "token request: 302: Found; the token endpoint does not redirect: token_url looks wrong",
        ),
        (httpx.Response(500), "token request: 500: Internal Server Error"),
        (
            httpx.Response(200, content=b"<html>"),
            "token request: invalid_body: the answer holds no token; token_url looks wrong",
        ),
        (
            httpx.Response(200, json={"access_token": "a\nb"}),
            "token request: invalid_body: the answer holds a token that no header can carry",
        ),
        (httpx.ConnectError("can't look up the name"), "token request: connection: can't look up the name"),
        (httpx.ReadTimeout(""), "token request: timeout: no whole answer within 10 s"),
        (
            httpx.Response(400, json={"error": "x", "error_description": f"{CLIENT_SECRET} is bad"}),
            "token request: 400: x: *** is bad; look at client_id, client_secret, scopes and endpoint_params",
        ),
    ],
)
async def test_each_failure_says_what_it_may_mean_and_shows_no_secret(
    answer: httpx.Response | Exception, told: str
) -> None:
    endpoint = Endpoint()
    endpoint.answer = answer
    assert str(await endpoint.failure()) == told


@example(b"1")
@example(b"[]")
@example(b"null")
@example(b"{}")
@example(b'{"access_token": 5}')
@example(b'{"access_token": null}')
@example(b'{"access_token": ""}')
@example(b'{"access_token": "a b"}')
@example(b'{"access_token": "a", "expires_in": {}}')
@example(b'{"access_token": "a", "expires_in": 1e999}')
@example(b'{"access_token": "a", "expires_in": NaN}')
@example(b'{"access_token": "a", "expires_in": -5}')
@example(b'{"access_token": "a", "scope": [[]]}')
@example(b'{"access_token": "a", "scope": 7}')
@example(b'{"error": {}}')
@example(b'{"access_token": "a", "error": "b"}')
@example(b"[" * 100_000)
@example(b'{"access_token": "a", "expires_in": ' + b"9" * 5000 + b"}")
@given(st.binary(max_size=40))
def test_any_answer_is_a_token_or_a_failure(body: bytes) -> None:
    async def live() -> None:
        endpoint = Endpoint()
        endpoint.answer = httpx.Response(200, content=body)
        try:
            header = await endpoint.header()
        except TokenFailed:
            return
        assert re.fullmatch("Bearer [!-~]+", header)

    asyncio.run(live())


async def test_a_cancelled_token_request_leaves_it_to_the_next() -> None:
    endpoint = Endpoint()
    hangs = asyncio.create_task(endpoint.credentials.prepare())
    await asyncio.sleep(0)
    hangs.cancel()
    await asyncio.wait([hangs])
    assert (await endpoint.header()).startswith("Bearer")


async def test_neither_token_nor_secret_is_in_the_repr() -> None:
    endpoint = Endpoint()
    with pytest.raises(CredentialsError, match="there is no token yet"):
        endpoint.credentials.header()
    await endpoint.header()
    told = repr((endpoint.credentials, vars(endpoint.credentials)))
    assert not [secret for secret in ("token-1", CLIENT_SECRET) if secret in told]
    assert endpoint.credentials.unspeakable() == ("token-1", CLIENT_SECRET)
