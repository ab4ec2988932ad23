"""An account's ways out: which credentials, which proxy, what is shared."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from infobip_exporter.config.schema import Account, Authorization, BasicAuth, OAuth2
from infobip_exporter.errors import RequestFailed, TokenFailed
from infobip_exporter.infobip.access import Access
from infobip_exporter.infobip.proxy import proxy_of
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.secret import Secret
from infobip_sandbox.access import SandboxAccount
from infobip_sandbox.server import Sandbox
from infobip_sandbox.site import SiteOptions

KEY = Secret("right-key")
URL = httpx.URL("https://x.api.infobip.com")
PLAIN = Account("main", str(URL))
SITE = SiteOptions(accounts=(SandboxAccount("main", KEY.reveal(), ("instagram", "sms")),))


async def asked(access: Access, channel: str = "instagram") -> int:
    """The rows of an answer."""
    client = access.client(channel, {})
    try:
        await client.prepare()
        return (await client.fetch(Query(limit=1))).page.rows
    finally:
        await client.close()


def kinds(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "secret"
    file.write_text(f"{KEY.reveal()}\n")
    return {
        "api_key": {"api_key": KEY},
        "api_key_file": {"api_key_file": file},
        "password": {"basic_auth": BasicAuth("main", KEY)},
        "password_file": {"basic_auth": BasicAuth("main", password_file=file)},
        "client_secret": {"oauth2": OAuth2("main", KEY)},
        "client_secret_file": {"oauth2": OAuth2("main", client_secret_file=file)},
    }


def test_each_kind_is_let_in_with_the_right_secret_and_not_with_another(tmp_path: Path) -> None:
    with Sandbox(SITE) as sandbox:
        for kind in kinds(tmp_path).values():
            assert asyncio.run(asked(Access(Account("main", sandbox.base_url, **kind), 5.0))) == 1
        (tmp_path / "wrong").write_text("wrong-key")
        for wrong in (
            {"api_key": Secret("wrong-key")},
            {"basic_auth": BasicAuth("main", password_file=tmp_path / "wrong")},
            {"oauth2": OAuth2("main", Secret("wrong-key"))},
            {"authorization": Authorization("IBSSO", Secret("wrong-key"))},
        ):
            with pytest.raises(RequestFailed, match="401"):
                asyncio.run(asked(Access(Account("main", sandbox.base_url, **wrong), 5.0)))


def test_a_session_token_serves_until_the_session_ends(tmp_path: Path) -> None:
    with Sandbox(SITE) as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
        opened = http.post("/auth/1/session", json={"username": "main", "password": KEY.reveal()})
        file = tmp_path / "session"
        file.write_text(opened.json()["token"])
        account = Account(
            "main", sandbox.base_url, authorization=Authorization("IBSSO", credentials_file=file)
        )
        access = Access(account, 5.0)
        assert asyncio.run(asked(access)) == 1
        http.post("/sandbox/revoke", params={"account": "main"})
        with pytest.raises(RequestFailed, match="the session has ended"):
            asyncio.run(asked(access))


def test_the_channels_of_an_account_share_one_token_and_a_revoked_one_is_replaced_once() -> None:
    async def live(sandbox: Sandbox) -> None:
        access = Access(Account("main", sandbox.base_url, oauth2=OAuth2("main", KEY)), 5.0)
        clients = [access.client(channel, {}) for channel in ("instagram", "sms")]

        async def ask_all() -> None:
            for client in clients:
                await client.prepare()
            await asyncio.gather(*(client.fetch(Query(limit=1)) for client in clients))

        async with httpx.AsyncClient(base_url=sandbox.base_url) as http:
            await ask_all()
            await http.post("/sandbox/revoke")
            refused = await asyncio.gather(
                *(client.fetch(Query(limit=1)) for client in clients), return_exceptions=True
            )
            assert [str(each)[:3] for each in refused] == ["401", "401"]
            assert all(client.has_new_key() for client in clients)
            await ask_all()
            requests = (await http.get("/sandbox/access")).json()["token_requests"]
        for client in clients:
            await client.close()
        assert requests == {"200": 2}

    with Sandbox(SITE) as sandbox:
        asyncio.run(live(sandbox))


def test_a_token_without_the_scope_is_a_403_and_a_scope_that_is_not_granted_is_a_400() -> None:
    with Sandbox(SITE) as sandbox:
        oauth2 = OAuth2("main", KEY, scopes=("sms:logs:read",))
        account = Account("main", sandbox.base_url, oauth2=oauth2)
        assert asyncio.run(asked(Access(account, 5.0), "sms")) == 1
        with pytest.raises(RequestFailed, match=r"403: .*lack the scope instagram:logs:read"):
            asyncio.run(asked(Access(account, 5.0), "instagram"))
        beyond = replace(account, oauth2=replace(oauth2, scopes=("viber:logs:read",)))
        with pytest.raises(TokenFailed, match="400: invalid_scope"):
            asyncio.run(asked(Access(beyond, 5.0)))


def test_an_access_serves_accounts_that_differ_in_what_is_counted_alone() -> None:
    access = Access(replace(PLAIN, api_key=KEY), 5.0)
    assert access.serves(
        Account("main", str(URL), api_key=KEY, channels=("sms",), filters={"sender": "x"}), 5.0
    )
    assert not access.serves(replace(PLAIN, api_key=Secret("other")), 5.0)
    assert not access.serves(replace(PLAIN, api_key=KEY), 6.0)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:1")


@pytest.mark.parametrize(
    ("changed", "host"),
    [
        ({}, "environment"),
        ({"proxy_from_environment": False}, None),
        ({"proxy_url": Secret("http://u:p%20w@own:3128")}, "own"),
        ({"proxy_url": Secret("http://own:3128"), "no_proxy": "infobip.com"}, None),
        ({"proxy_url": Secret("http://own:3128"), "no_proxy": "example.com,10.0.0.0/8"}, "own"),
    ],
)
def test_an_account_s_proxy_goes_before_the_environment_s(changed: dict[str, Any], host: str | None) -> None:
    proxy = proxy_of(replace(PLAIN, **changed), URL)
    assert (proxy.url.host if proxy else None) == host


def test_an_account_s_proxy_serves_for_loopback_too_and_its_password_is_decoded() -> None:
    account = replace(PLAIN, proxy_url=Secret("http://u:p%20w@own:3128"))
    proxy = proxy_of(account, httpx.URL("http://127.0.0.1:8080"))
    assert proxy
    assert proxy.auth == ("u", "p w")
