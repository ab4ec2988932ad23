import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from infobip_exporter.check import Feed, check
from infobip_exporter.config.schema import Account, Authorization, BasicAuth, Config, OAuth2, Poll, TlsConfig
from infobip_exporter.errors import ConfigError, RequestFailed, TokenFailed
from infobip_exporter.model.record import Answer, Page, Records
from infobip_exporter.model.secret import Secret
from infobip_sandbox.access import SandboxAccount
from infobip_sandbox.faults import FaultKind, Faults
from infobip_sandbox.server import Sandbox
from infobip_sandbox.site import SiteOptions

NOW_S = 1_800_000_000.25
MAIN = Account(
    "main", "https://x.api.infobip.com", api_key=Secret("secret-key"), channels=("instagram", "sms")
)
OWN_HOST = "set base_url to the account's own host, which the Infobip portal shows beside the API keys"


def answer(date_s: int | None) -> Answer:
    return Answer(
        Page(Records.of([]), 0),
        None if date_s is None else date_s * 1000,
        took_s=0.12,
        asked_s=0.0,
        received_s=0.12,
    )


def lines_of(
    capsys: pytest.CaptureFixture[str], account: Account, given: Answer | RequestFailed
) -> tuple[int, list[str]]:
    async def ask(feed: Feed) -> Answer:
        if isinstance(given, RequestFailed):
            raise given
        return given

    code = check(Config((account,)), ask=ask, wall_s=lambda: NOW_S)
    return code, capsys.readouterr().out.splitlines()


def test_each_feed_that_works_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, MAIN, answer(1_800_000_000)) == (
        0,
        [
            "ok    main/instagram: the log answers (200), clock off by 0.3 s, took 0.12 s",
            "ok    main/sms: the log answers (200), clock off by 0.3 s, took 0.12 s",
        ],
    )


def test_an_answer_without_a_date_works_too(capsys: pytest.CaptureFixture[str]) -> None:
    told = "ok    main/instagram: the log answers (200), no clock told, took 0.12 s"
    code, lines = lines_of(capsys, MAIN, answer(None))
    assert (code, lines[0]) == (0, told)


@pytest.mark.parametrize(("offset_s", "side"), [(600, "600 s behind"), (-600, "600 s ahead of")])
def test_a_clock_that_is_off_by_minutes_is_warned_of(
    capsys: pytest.CaptureFixture[str], offset_s: int, side: str
) -> None:
    assert len(lines_of(capsys, MAIN, answer(1_800_000_000 + offset_s // 600 * 59))[1]) == 2
    code, lines = lines_of(capsys, MAIN, answer(1_800_000_000 + offset_s))
    assert code == 0
    assert lines[1] == (
        f"warn  main/instagram: this machine's clock is {side} the API's; "
        "counts are right anyway, but times look odd: set it by NTP"
    )


URL = "https://x.api.infobip.com"
ACCOUNTS = {
    "key": replace(MAIN, channels=("instagram",)),
    "key_file": Account("main", URL, api_key_file=Path("/run/key")),
    "basic": Account("main", URL, basic_auth=BasicAuth("me", password_file=Path("/run/password"))),
    "session": Account(
        "main", URL, authorization=Authorization("IBSSO", credentials_file=Path("/run/session"))
    ),
    "oauth2": Account(
        "main", URL, oauth2=OAuth2("me", None, Path("/run/client"), "https://login.example.com/token")
    ),
    "scoped": Account("main", URL, oauth2=OAuth2("me", Secret("x"), scopes=("sms:logs:read",))),
    "own": replace(
        MAIN,
        base_url="http://127.0.0.1:1",
        channels=("instagram",),
        proxy_url=Secret("http://proxy:3128"),
        tls_config=TlsConfig(Path("/ca.pem")),
    ),
}
STEPS = """
look at the account's filters
    key 400: bad
make a key in the Infobip portal (Developer Tools, API keys) and put it into api_key
    key 401: no
make a key in the Infobip portal (Developer Tools, API keys) and put it into /run/key
    key_file 401: no
in the Infobip portal, give the key the scope instagram:logs:read, and this machine's address if the key is limited to some
    key 403: no
set base_url to the account's own host, which the Infobip portal shows beside the API keys
    key 404: an HTML page
    key 302: moved
    key invalid_body: an HTML page
look at HTTPS_PROXY, or name the host in NO_PROXY
    key 407: proxy
    key connection: the proxy answered 407 Proxy Authentication Required
    oauth2 token 407: no
look at proxy_url, or name the host in no_proxy
    own connection: the proxy answered 407 x
try again in a minute; if it stays, another program uses this log too: lower requests_per_minute
    key 429: slow down
try again in a few minutes: the fault is on the API's side, and run goes on trying by itself
    key 503: down
    oauth2 token 503: no
is poll.timeout (10s) enough? Does a firewall between here and https://x.api.infobip.com drop packets?
    key timeout: no answer
is the host of https://x.api.infobip.com spelled right? Does DNS work here?
    key connection: can't look up the name: Name or service not known
can this machine reach https://x.api.infobip.com? Look at the firewall, and at HTTPS_PROXY
    key connection: can't connect to 192.0.2.1 port 443: Connection refused
can this machine reach https://login.example.com/token? Look at the firewall, and at HTTPS_PROXY
    oauth2 token connection: can't connect to 192.0.2.1 port 443: Connection refused
if a proxy opens TLS on the way, name its CA file in tls_config.ca_file or SSL_CERT_FILE; else look at base_url
    key connection: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate
is /ca.pem the authority of http://127.0.0.1:1's certificate?
    own connection: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate
another host answers in place of https://x.api.infobip.com: look at base_url, DNS, HTTPS_PROXY and tls_config.server_name
    key connection: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch
is this machine's clock right? Set it by NTP; if it is, a proxy or base_url with an old certificate answers
    key connection: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid
the server wants a client certificate that it trusts: look at tls_config.cert_file and key_file
    own connection: [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required
does https://x.api.infobip.com speak TLS on this port? Look at base_url, and at what may be in between (HTTPS_PROXY)
    key connection: [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol
try again; if it stays: is base_url right, and does a proxy or a firewall on the way to https://x.api.infobip.com cut answers?
    key connection: peer closed connection without sending complete message body
try again; if it stays, set base_url to the account's own host, which the Infobip portal shows beside the API keys
    key invalid_body: the answer is not whole JSON
look at basic_auth.username and /run/password: can this user sign in to the Infobip portal?
    basic 401: no
in the Infobip portal, give the user a role that may read message logs (instagram:logs:read)
    basic 403: no
open a new session and put its token into /run/session; sessions end after a time without use, so take an API key or oauth2 to stay
    session 401: no
is the client of this account, and base_url the account's own? The token itself was given
    oauth2 401: no
in the Infobip portal, give the client the scope instagram:logs:read
    oauth2 403: no
in the Infobip portal, give the client the scope instagram:logs:read, and name it in oauth2.scopes
    scoped 403: no
take the scopes that the client does not have out of oauth2.scopes, or grant them to it
    oauth2 token 400: invalid_scope: x
compare oauth2.client_id and /run/client with those that Infobip gave you
    oauth2 token 401: no
leave oauth2.token_url out for Infobip's own, and look at base_url
    oauth2 token 404: no
    oauth2 token invalid_body: the answer holds no token
try again in a minute; if it stays, another program asks for tokens too
    oauth2 token 429: no
put the key there and nothing else, readable for the user that the exporter runs as
    oauth2 token : client_secret_file /run/client: No such file or directory
"""
"""What to do, and below it the failures after which it is: the account, the code and the text."""
FAILURES = [
    (step, case.strip())
    for step, cases in re.findall(r"(?m)^(\S.*)\n((?: .*\n)+)", STEPS)
    for case in cases.splitlines()
]


@pytest.mark.parametrize(("step", "case"), FAILURES)
def test_each_failure_comes_with_the_next_step(
    capsys: pytest.CaptureFixture[str], case: str, step: str
) -> None:
    name, told = case.split(" ", 1)
    code, text = told.removeprefix("token ").split(": ", 1)
    kind = TokenFailed if told.startswith("token ") else RequestFailed
    exit_code, [line] = lines_of(capsys, ACCOUNTS[name], kind(code, text + "."))
    assert exit_code == 1
    told = told.replace("token ", "token request: ", 1) if code else text
    assert line == f"FAIL  main/instagram: {told}. Next: {step}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file or directory"),
        ("App secret-key\n", 'must be the key alone; leave out "App " at its beginning'),
    ],
)
def test_a_key_file_that_holds_no_key_fails_before_any_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, told: str
) -> None:
    key = tmp_path / "key"
    if content:
        key.write_text(content)
    assert check(Config((Account("main", "http://127.0.0.1:1", api_key_file=key),))) == 1
    step = "put the key there and nothing else, readable for the user that the exporter runs as"
    assert capsys.readouterr().out == f"FAIL  main/instagram: api_key_file {key}: {told}. Next: {step}\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [("no.pem", "No such file or directory"), ("ca.pem", "it holds no certificates in PEM form")],
)
def test_authorities_that_can_not_be_used_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
    with pytest.raises(ConfigError) as error:
        check(Config((MAIN,)))
    assert error.value.problems == [f"SSL_CERT_FILE: can't be used: {told}"]


def test_one_failure_fails_the_check_and_the_order_is_that_of_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sms_answered = asyncio.Event()

    async def ask(feed: Feed) -> Answer:
        if feed.channel == "sms":
            sms_answered.set()
            raise RequestFailed("503", "down")
        await asyncio.wait_for(sms_answered.wait(), 10)  # ends if the feeds are asked one after another
        return answer(None)

    assert check(Config((MAIN,)), ask=ask) == 1
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "ok    main/instagram",
        "FAIL  main/sms",
    ]


def test_any_other_error_is_not_hidden() -> None:
    async def ask(feed: Feed) -> Answer:
        raise ConfigError(["HTTPS_PROXY: can't be used"])

    with pytest.raises(ConfigError):
        check(Config((MAIN,)), ask=ask)


@pytest.mark.parametrize(
    ("fault", "told", "step"),
    [
        ("400", "400: E400 ", "look at the account's filters"),
        ("429", "429: E429 ", "try again in a minute"),
        ("500", "500: E500 ", "the fault is on the API's side"),
        ("502_html", '502: an HTML page "502 Bad Gateway"', "the fault is on the API's side"),
        ("html_200", "invalid_body: the answer is HTML or XML, not JSON", OWN_HOST),
        ("slow", "timeout: no whole answer within 0.3 s", "is poll.timeout (300ms) enough? Does a firewall"),
        ("reset", "connection: ", "can this machine reach http://127.0.0.1:"),
        ("cut", "connection: peer closed connection", "try again; if it stays"),
        ("garbled", "invalid_body: the answer is not whole JSON", "try again; if it stays"),
    ],
)
def test_each_way_the_simulated_api_fails_is_told_with_the_next_step(
    capsys: pytest.CaptureFixture[str], fault: FaultKind, told: str, step: str
) -> None:
    options = SiteOptions(
        accounts=(SandboxAccount("main", "right-key", ("instagram",)),), faults=Faults(shares={fault: 1.0})
    )
    with Sandbox(options) as sandbox:
        account = Account("main", sandbox.base_url, api_key=Secret("right-key"))
        timeout_s = 0.3 if told.startswith("timeout") else 10
        assert check(Config((account,), poll=Poll(timeout_s=timeout_s))) == 1
    (line,) = capsys.readouterr().out.splitlines()
    failure, next_step = line.split(". Next: ")
    assert failure.startswith(f"FAIL  main/instagram: {told}")
    assert step in next_step
    assert ".:" not in line
    assert ".;" not in line


def test_against_the_simulated_api(capsys: pytest.CaptureFixture[str]) -> None:
    options = SiteOptions(accounts=(SandboxAccount("main", "right-key", ("instagram",)),))
    with Sandbox(options) as sandbox:
        right = Account("right", sandbox.base_url, api_key=Secret("right-key"), channels=("instagram", "sms"))
        wrong = Account("wrong", sandbox.base_url, api_key=Secret("wrong-key"))
        assert check(Config((right, wrong), poll=Poll(timeout_s=10))) == 1
    out = capsys.readouterr().out
    first, second, third = out.splitlines()
    assert first.startswith("ok    right/instagram: the log answers (200), clock off by ")
    assert second.startswith("FAIL  right/sms: 403: ")
    assert third.startswith("FAIL  wrong/instagram: 401: ")
    assert "-key" not in out
