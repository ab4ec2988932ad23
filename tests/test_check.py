import asyncio
from pathlib import Path

import pytest

from infobip_exporter.check import Feed, check
from infobip_exporter.config.schema import Account, Config, Poll
from infobip_exporter.errors import ConfigError, RequestFailed
from infobip_exporter.model.record import Answer, Page
from infobip_exporter.model.secret import Secret
from infobip_sandbox.faults import FaultKind, Faults
from infobip_sandbox.server import Sandbox
from infobip_sandbox.site import SandboxAccount, SiteOptions

NOW_S = 1_800_000_000.25
MAIN = Account(
    "main", "https://x.api.infobip.com", api_key=Secret("secret-key"), channels=("instagram", "sms")
)
OWN_HOST = "set base_url to the account's own host, which the Infobip portal shows beside the API keys"


def answer(date_s: int | None) -> Answer:
    return Answer(
        Page([], 0), None if date_s is None else date_s * 1000, took_s=0.12, asked_s=0.0, received_s=0.12
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
    code, lines = lines_of(capsys, MAIN, answer(1_800_000_000 + offset_s))
    assert code == 0
    assert lines[1] == (
        f"warn  main/instagram: this machine's clock is {side} the API's; "
        "counts are right anyway, but times look odd: set it by NTP"
    )


def test_a_clock_within_a_minute_is_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lines_of(capsys, MAIN, answer(1_800_000_000 + 59))[1]) == 2


@pytest.mark.parametrize(
    ("code", "text", "step"),
    [
        ("400", "bad", "look at the account's filters"),
        ("401", "no", "make a key in the Infobip portal (Developer Tools, API keys) and put it into api_key"),
        (
            "403",
            "no",
            "in the Infobip portal, give the key the scope instagram:logs:read, "
            "and this machine's address if the key is limited to some",
        ),
        ("404", "an HTML page", OWN_HOST),
        ("302", "moved", OWN_HOST),
        ("invalid_body", "an HTML page", OWN_HOST),
        ("407", "proxy", "look at HTTPS_PROXY, or name the host in NO_PROXY"),
        (
            "connection",
            "the proxy answered 407 Proxy Authentication Required",
            "look at HTTPS_PROXY, or name the host in NO_PROXY",
        ),
        (
            "429",
            "slow down",
            "try again in a minute; if it stays, another program uses this log too: lower requests_per_minute",
        ),
        (
            "503",
            "down",
            "try again in a few minutes: the fault is on the API's side, and run goes on trying by itself",
        ),
        (
            "timeout",
            "no answer",
            "is poll.timeout (10s) enough? "
            "Does a firewall between here and https://x.api.infobip.com drop packets?",
        ),
        (
            "connection",
            "can't look up the name: Name or service not known",
            "is the host of https://x.api.infobip.com spelled right? Does DNS work here?",
        ),
        (
            "connection",
            "can't connect to 192.0.2.1 port 443: Connection refused",
            "can this machine reach https://x.api.infobip.com? Look at the firewall, and at HTTPS_PROXY",
        ),
        (
            "connection",
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate",
            "if a proxy opens TLS on the way, name its CA file in SSL_CERT_FILE; else look at base_url",
        ),
        (
            "connection",
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch",
            "another host answers in place of https://x.api.infobip.com: look at base_url, DNS and HTTPS_PROXY",
        ),
        (
            "connection",
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid",
            "is this machine's clock right? Set it by NTP; "
            "if it is, a proxy or base_url with an old certificate answers",
        ),
        (
            "connection",
            "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol",
            "does https://x.api.infobip.com speak TLS on this port? "
            "Look at base_url, and at what may be in between (HTTPS_PROXY)",
        ),
        (
            "connection",
            "peer closed connection without sending complete message body",
            "try again; if it stays: is base_url right, and does a proxy or a firewall on the way to "
            "https://x.api.infobip.com cut answers?",
        ),
        ("invalid_body", "the answer is not whole JSON", f"try again; if it stays, {OWN_HOST}"),
    ],
)
def test_each_failure_comes_with_the_next_step(
    capsys: pytest.CaptureFixture[str], code: str, text: str, step: str
) -> None:
    exit_code, lines = lines_of(capsys, MAIN, RequestFailed(code, text + "."))
    assert exit_code == 1
    assert lines[0] == f"FAIL  main/instagram: {code}: {text}. Next: {step}"


def test_a_refused_key_of_a_file_is_to_be_replaced_in_that_file(capsys: pytest.CaptureFixture[str]) -> None:
    account = Account("main", "https://x.api.infobip.com", api_key_file=Path("/run/key"))
    _, lines = lines_of(capsys, account, RequestFailed("401", "no"))
    assert lines[0].endswith("(Developer Tools, API keys) and put it into /run/key")


def test_a_key_file_that_is_not_there_fails_before_any_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    account = Account("main", "http://127.0.0.1:1", api_key_file=tmp_path / "key")
    assert check(Config((account,))) == 1
    told = f"api_key_file {tmp_path}/key: No such file or directory"
    step = "put the key there and nothing else, readable for the user that the exporter runs as"
    assert capsys.readouterr().out == f"FAIL  main/instagram: {told}. Next: {step}\n"


def test_authorities_that_are_not_there_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "no.pem"))
    with pytest.raises(ConfigError) as error:
        check(Config((MAIN,)))
    assert error.value.problems == ["SSL_CERT_FILE: can't be used: No such file or directory"]


def test_authorities_that_are_none_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError) as error:
        check(Config((MAIN,)))
    assert error.value.problems == ["SSL_CERT_FILE: can't be used: it holds no certificates in PEM form"]


def test_a_key_with_the_word_before_it_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("App secret-key\n")
    assert check(Config((Account("main", "http://127.0.0.1:1", api_key_file=tmp_path / "key"),))) == 1
    out = capsys.readouterr().out
    assert (
        f'api_key_file {tmp_path}/key: must be the key alone; leave out "App " at its beginning. Next: '
        in out
    )
    assert "secret-key" not in out


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
        ("401", "401: E401 ", "make a key in the Infobip portal"),
        ("403", "403: E403 ", "give the key the scope instagram:logs:read"),
        ("429", "429: E429 ", "try again in a minute"),
        ("500", "500: E500 ", "the fault is on the API's side"),
        ("502_html", '502: an HTML page "502 Bad Gateway"', "the fault is on the API's side"),
        ("html_200", "invalid_body: the answer is HTML or XML, not JSON", OWN_HOST),
        ("timeout_before", "timeout: no whole answer within 0.3 s", "is poll.timeout (300ms) enough?"),
        ("timeout_after", "timeout: no whole answer within 0.3 s", "Does a firewall"),
        ("slow", "timeout: no whole answer within 0.3 s", "drop packets?"),
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
