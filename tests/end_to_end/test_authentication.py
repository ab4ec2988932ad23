"""Every way to authenticate, through the running process: with expiry, revocation, proxies, private authorities."""

import base64
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from infobip_exporter.config.load import load_config
from tests.alerting.servers import HTTP, Answering, answered_by, needs, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import value
from tests.end_to_end.fronts import PASSWORD, tinyproxy, tls_front
from tests.end_to_end.programs import NO_LIMIT, QUICK, Exporter, Sandbox, account, sandbox, wait_for_truth

UP = "infobip_up"
REQUESTS = "infobip_exporter_api_requests_total"
KINDS = ("key", "user", "session", "client")


def account_with(api: Sandbox, name: str, how: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return account(api, name=name, **{"api_key": None, **how}, **more)


def open_session(api: Sandbox, name: str) -> str:
    answer = HTTP.post(
        f"{api.base_url}/auth/1/session", json={"username": name, "password": f"key-of-{name}"}
    )
    token: str = answer.json()["token"]
    return token


def requests(exporter: Exporter, name: str, code: str) -> float:
    return value(exporter.counts(), REQUESTS, account=name, code=code)


def page(exporter: Exporter) -> str:
    return HTTP.get(f"{exporter.url}/").text


@pytest.fixture
def api() -> Iterator[Sandbox]:
    accounts = [part for kind in KINDS for part in ("--account", f"{kind}:key-of-{kind}")]
    with sandbox(*QUICK, *NO_LIMIT, "--access", "token_life_s=4", *accounts) as running:
        yield running


def test_each_kind_counts_exactly_through_expiry_revocation_and_new_secrets(
    api: Sandbox, make_exporter: MakeExporter
) -> None:
    exporter = make_exporter({"accounts": []})
    session = exporter.folder / "session"
    session.write_text(open_session(api, "session"))
    (exporter.folder / "secret").write_text("key-of-client\n")
    accounts = [
        account_with(api, "key", {"api_key": "key-of-key"}),
        account_with(api, "user", {"basic_auth": {"username": "user", "password": "key-of-user"}}),
        account_with(api, "session", {"authorization": {"type": "IBSSO", "credentials_file": "session"}}),
        account_with(
            api,
            "client",
            {"oauth2": {"client_id": "client", "client_secret_file": "secret"}},
            channels=["instagram", "sms"],
        ),
    ]
    exporter.configure({"accounts": accounts})
    for kind in KINDS:
        api.lively_for(8, 20, account=kind)
    exporter.start()
    until(lambda: value(exporter.counts(), UP) == 5)
    # Tokens live for 4 s. They are replaced before, so that none is ever refused, and shared by the two channels.
    until(lambda: api.control("GET", "access")["token_requests"]["200"] >= 3)
    assert requests(exporter, "client", "401") == 0

    # The next one lives for long, so that it is the revocation that ends it.
    api.control("POST", "access", {"token_life_s": 3600})
    given = api.control("GET", "access")["token_requests"]["200"]
    until(lambda: api.control("GET", "access")["token_requests"]["200"] > given)
    for kind in ("session", "client"):
        api.control("POST", "revoke", account=kind)
    until(lambda: requests(exporter, "client", "401") >= 1)
    until(lambda: "the session has ended, as sessions do after a time without use" in page(exporter))
    new = session.with_suffix(".new")
    new.write_text(open_session(api, "session"))
    new.replace(session)
    until(lambda: value(exporter.counts(), UP) == 5)
    assert requests(exporter, "client", "401") <= 8  # both channels, up to four requests at once

    for kind in KINDS:
        wait_for_truth(exporter, api, kind, "instagram")
    assert exporter.stop() == 0


def test_a_failing_token_endpoint_is_an_incident_of_its_own_and_asks_the_log_nothing(
    api: Sandbox, make_exporter: MakeExporter
) -> None:
    oauth2 = {"client_id": "client", "client_secret": "key-of-client", "scopes": ["instagram:logs:read"]}
    exporter = make_exporter({"accounts": [account_with(api, "client", {"oauth2": oauth2})]})
    exporter.start()
    until(lambda: value(exporter.counts(), UP) == 1)
    api.control("POST", "access", {"token_fault": "500"})
    api.lively_for(3, 20, account="client")
    until(lambda: 'msg="access token failed, retrying"' in exporter.log)
    until(lambda: value(exporter.counts(), UP) == 0)
    asked = api.requests(account="client")
    assert "token request: 500" in page(exporter)
    failures = api.control("GET", "access")["token_requests"]["500"]
    api.control("POST", "access", {"token_fault": ""})
    until(lambda: value(exporter.counts(), UP) == 1, 60.0)
    assert api.control("GET", "access")["token_requests"]["500"] <= failures + 2
    assert requests(exporter, "client", "200") >= asked
    assert requests(exporter, "client", "500") == 0
    assert 'msg="access token works again"' in exporter.log
    wait_for_truth(exporter, api, "client", "instagram")


@needs("tinyproxy")
def test_a_forward_proxy_a_private_authority_and_a_client_certificate(
    api: Sandbox, make_exporter: MakeExporter, tmp_path: Path
) -> None:
    servers, clients = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    servers.issue_cert("api.example.com").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(context)
    exporter = make_exporter({"accounts": []})
    servers.cert_pem.write_to_path(exporter.folder / "ca.pem")
    certificate = clients.issue_cert("exporter@example.com")
    certificate.cert_chain_pems[0].write_to_path(exporter.folder / "client.pem")
    certificate.private_key_pem.write_to_path(exporter.folder / "client.key")
    tls_config = {"ca_file": "ca.pem", "server_name": "api.example.com"}
    shown = {"cert_file": "client.pem", "key_file": "client.key"}
    with tinyproxy(tmp_path / "proxy") as proxy, tls_front(api.base_url, context) as front:
        through = {"proxy_url": proxy.url}
        secured = through | {"base_url": front}
        oauth2 = {"oauth2": {"client_id": "client", "client_secret": "key-of-client"}}
        accounts = [
            account_with(api, "key", {"api_key": "key-of-key", **through}),
            account_with(api, "client", {**oauth2, **secured, "tls_config": tls_config | shown}),
            account_with(api, "user", {"api_key": "key-of-user", **secured, "tls_config": tls_config}),
            account_with(api, "session", {"api_key": "key-of-session", **secured}),
        ]
        exporter.configure({"accounts": accounts})
        for name in ("key", "client"):
            api.lively_for(3, 20, account=name)
        exporter.start()
        until(lambda: value(exporter.counts(), UP) == 2)
        for name in ("key", "client"):
            wait_for_truth(exporter, api, name, "instagram")
        assert api.requests(account="user") == api.requests(account="session") == 0
        asked = proxy.asked_for()
        assert "GET http://127.0.0.1" in asked
        assert f"CONNECT {front.removeprefix('https://')}" in asked
        _, check = exporter.run("check")
        assert exporter.stop() == 0
    told = dict(line.split("/instagram: ") for line in check if "/instagram: " in line)
    assert told["ok    key"].startswith("the log answers")
    assert told["ok    client"].startswith("the log answers")
    assert told["FAIL  user"].startswith("connection: ")
    assert "certificate verify failed" in told["FAIL  session"]
    assert "name its CA file in tls_config.ca_file" in told["FAIL  session"]
    assert PASSWORD not in "\n".join([exporter.log, *check])


SECRETS = {
    name: f"s3cr3t-of-{name}"
    for name in "api_key basic_auth authorization oauth2 refused parameter proxy".split()
}
TOKEN = "s3cr3t-token-s3cr3t"


@contextmanager
def repeating() -> Iterator[tuple[str, list[str]]]:
    """An API that repeats what it is told in its errors: its URL, and what it has heard."""
    heard: list[str] = []

    class Repeating(Answering):
        def respond(self) -> None:
            body = self.body() if self.command == "POST" else b""
            heard.append(said := f"{self.headers.get('Authorization')} {body.decode()}")
            status, answer = 200, {"access_token": TOKEN, "expires_in": 3600}
            if self.command == "GET":
                status, answer = 403, {"description": said}
            elif SECRETS["refused"] in said:
                status, answer = 400, {"error": "invalid_client", "error_description": said}
            self.answer(status, json.dumps(answer).encode())

    with answered_by(Repeating) as url:
        yield url, heard


@pytest.mark.parametrize("in_files", [False, True], ids=["given", "in files"])
def test_no_secret_of_any_kind_is_shown_anywhere(make_exporter: MakeExporter, *, in_files: bool) -> None:
    exporter = make_exporter({"accounts": []})

    def secret(key: str, name: str) -> dict[str, str]:
        if not in_files:
            return {key: SECRETS[name]}
        (exporter.folder / name).write_text(SECRETS[name])
        return {f"{key}_file": name}

    with repeating() as (url, heard):
        parameters = {"endpoint_params": {"audience": SECRETS["parameter"]}}
        kinds: dict[str, Any] = {
            "api_key": secret("api_key", "api_key"),
            "basic_auth": {"basic_auth": {"username": "me"} | secret("password", "basic_auth")},
            "authorization": {"authorization": {"type": "IBSSO"} | secret("credentials", "authorization")},
            "oauth2": {"oauth2": {"client_id": "me"} | secret("client_secret", "oauth2") | parameters},
            "refused": {"oauth2": {"client_id": "me"} | secret("client_secret", "refused") | parameters},
        }
        accounts = [{"name": name, "base_url": url, **kind} for name, kind in kinds.items()]
        proxied = {"proxy_url": f"http://me:{SECRETS['proxy']}@{url.removeprefix('http://')}"}
        accounts.append({"name": "proxy", "base_url": url, "api_key": "k-of-proxy"} | proxied)
        exporter.configure({"accounts": accounts, "log": {"level": "debug"}})
        exporter.start()
        until(lambda: HTTP.get(f"{exporter.url}/-/ready").status_code == 200)
        until(lambda: page(exporter).count('class="incident') >= len(accounts))
        metrics, status = exporter.scrape(), page(exporter)
        check = "\n".join(exporter.run("check")[1])
        config = load_config(exporter.config_file, {})
        assert exporter.stop() == 0
    forms = {TOKEN, *SECRETS.values(), *(quote(each, safe="") for each in SECRETS.values())}
    forms |= {base64.b64encode(f"me:{SECRETS[name]}".encode()).decode() for name in ("basic_auth", "proxy")}
    everything = "".join(heard)
    assert [each for each in (*SECRETS.values(), TOKEN) if each not in everything] == [
        SECRETS["basic_auth"],  # in Base64
        SECRETS["proxy"],  # in Proxy-Authorization
    ]
    state = b"".join(each.read_bytes() for each in exporter.folder.glob("state.db*")).decode("latin-1")
    places = {
        "log": exporter.log,
        "metrics": metrics,
        "page": status,
        "check": check,
        "state": state,
        "repr": repr(config),
    }
    assert [(name, each) for name, text in places.items() for each in forms if each in text] == []
    assert "***" in status
    assert "***" in check
