"""The sandbox on the wire: what a real client sees."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infobip_exporter.errors import ListenError
from infobip_exporter.model.channels import LOG_PATHS
from infobip_sandbox.__main__ import main
from infobip_sandbox.access import SandboxAccount
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.server import Sandbox
from infobip_sandbox.site import SiteOptions
from infobip_sandbox.traffic import Traffic
from tests.alerting.servers import HTTP

LOGS = "/instagram/1/logs"
KEY = {"Authorization": "App key-a"}
OPTIONS = SiteOptions(
    traffic=Traffic(per_second=1, daily_swing=0, burstiness=0),
    accounts=(SandboxAccount("a", "key-a"), SandboxAccount("b", "key-b", ("messenger",))),
    history_ms=3_600_000,
)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with Sandbox(OPTIONS) as sandbox, httpx.Client(base_url=sandbox.base_url, timeout=5) as client:
        yield client


def post(client: httpx.Client, what: str, body: dict[str, Any], status: int = 200, **query: str) -> Any:
    reply = client.post(f"/sandbox/{what}", json=body, params=query)
    assert reply.status_code == status, reply.text
    return reply.json()


def see(client: httpx.Client, what: str, **query: str | int) -> Any:
    reply = client.get(f"/sandbox/{what}", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_every_channel_answers_with_traffic_of_its_own(client: httpx.Client) -> None:
    first_ids = set()
    for path in LOG_PATHS.values():
        reply = client.get(path, headers=KEY)
        assert reply.status_code == 200
        assert len(reply.json()["results"]) == 50
        first_ids.add(reply.json()["results"][0]["messageId"])
    assert len(first_ids) == len(LOG_PATHS)


def test_a_wrong_key_gets_401_one_without_the_scope_403_and_another_path_404(client: httpx.Client) -> None:
    for headers in ({}, {"Authorization": "App x"}):
        assert client.get(LOGS, headers=headers).status_code == 401
    key_b = {"Authorization": "App key-b"}
    assert client.get(LOGS, headers=key_b).status_code == 403
    assert client.get(LOG_PATHS["messenger"], headers=key_b).status_code == 200
    assert client.get("/instagram/1/reports", headers=KEY).status_code == 404
    assert client.post(LOGS, headers=KEY).status_code == 404
    assert client.get("/sandbox/nothing").status_code == 404


def test_parameters_are_read_from_the_url_where_a_bare_plus_is_a_space(client: httpx.Client) -> None:
    good = client.get(LOGS, headers=KEY, params={"sentSince": "2023-02-01T23:15:03.379+0000", "limit": 7})
    assert len(good.json()["results"]) == 7
    assert client.get(f"{LOGS}?sentSince=2023-02-01T23:15:03.379+0000", headers=KEY).status_code == 400
    assert client.get(f"{LOGS}?limit=", headers=KEY).status_code == 400


def test_faults_really_happen_on_the_wire(client: httpx.Client) -> None:
    post(client, "faults", {"script": ["reset", "cut", "garbled", "502_html", "401", ""]})
    with pytest.raises(httpx.ReadError):
        client.get(LOGS, headers=KEY)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.get(LOGS, headers=KEY)
    assert b"\x00\xff\x01" in client.get(LOGS, headers=KEY).content
    assert [client.get(LOGS, headers=KEY).status_code for _ in range(3)] == [502, 401, 200]
    assert see(client, "requests")["answered"] == {"reset": 1, "cut": 1, "200": 2, "502": 1, "401": 1}


def test_a_reset_is_a_reset_and_not_an_orderly_end(client: httpx.Client) -> None:
    post(client, "faults", {"script": ["reset"]})
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(f"GET {LOGS} HTTP/1.1\r\nHost: x\r\nAuthorization: App key-a\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            raw.recv(100)


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "slow"])
def test_timeouts_and_slow_answers_outlast_the_client(client: httpx.Client, kind: str) -> None:
    post(client, "faults", {"script": [kind], "slow_s": 60})
    with pytest.raises(httpx.ReadTimeout):
        client.get(LOGS, headers=KEY, timeout=0.2)
    assert client.get(LOGS, headers=KEY).status_code == 200


def test_a_slow_answer_comes_late_but_whole(client: httpx.Client) -> None:
    post(client, "faults", {"script": ["slow"], "slow_s": 0.2})
    reply = client.get(LOGS, headers=KEY)
    assert reply.elapsed.total_seconds() >= 0.2
    assert len(reply.json()["results"]) == 50


def test_the_limit_holds_for_each_account_and_channel_on_its_own(client: httpx.Client) -> None:
    post(client, "faults", {"requests_per_minute": 2, "retry_after": "seconds", "retry_after_s": 9})
    replies = [client.get(LOGS, headers=KEY) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[2].headers["Retry-After"] == "9"
    assert client.get(LOG_PATHS["messenger"], headers=KEY).status_code == 200
    asked = see(client, "requests", account="a", channel="instagram")
    assert (asked["total"], asked["over_limit"], asked["most_in_a_minute"]) == (3, 1, 3)


def test_quirks_and_faults_change_for_one_log_or_for_all(client: httpx.Client) -> None:
    post(client, "quirks", {"keeps": "oldest", "utc_offset_minutes": 60}, account="a", channel="messenger")
    post(client, "quirks", {"error_body": "old"}, account="a", channel="viber")
    shown = {
        channel: client.get(LOG_PATHS[channel], headers=KEY, params={"limit": 1}).json()["results"][0]
        for channel in ("instagram", "messenger")
    }
    assert shown["messenger"]["sentAt"].endswith("+0100")
    assert shown["instagram"]["sentAt"].endswith("+0000")
    post(client, "quirks", {"error_body": "old"})
    assert "requestError" in client.get(LOGS, headers=KEY, params={"limit": 0}).json()
    assert "requestError" in client.get(LOG_PATHS["email"], headers=KEY, params={"limit": 0}).json()


def test_messages_given_by_hand_are_in_the_log_and_in_the_truth(client: httpx.Client) -> None:
    given = [
        {"message_id": "one", "group": "REJECTED", "settles_after_ms": 0, "entity_id": "new", "parts": 2},
        {"message_id": "two", "group": "PENDING", "entity_id": "new", "price": None},
    ]
    assert post(client, "messages", {"messages": given}) == {"added": 2}
    rows = client.get(LOGS, headers=KEY, params={"entityId": "new"}).json()["results"]
    assert {row["messageId"] for row in rows} == {"one", "two"}
    truth = see(client, "truth", account="a", channel="instagram")
    assert ["new", "", 2] in truth["sent"]
    assert ["REJECTED", "OK", "new", "", 1] in truth["settled"]
    assert ["PENDING", "new", "", 1] in truth["in_flight"]
    assert ["EUR", "REJECTED", "new", "", "0.30"] in truth["cost"]


def test_the_truth_takes_a_window_and_a_moment(client: httpx.Client) -> None:
    begins_ms = see(client, "now")["begins_ms"]
    everything = see(client, "truth", since=begins_ms, now=begins_ms + 3_600_000)
    nothing = see(client, "truth", until=begins_ms)
    assert sum(row[-1] for row in everything["sent"]) > 2000
    assert everything["now_ms"] == begins_ms + 3_600_000
    assert nothing["sent"] == []


def test_an_incident_begins_when_it_is_called_for(client: httpx.Client) -> None:
    stir = {"seconds": 3600, "entity_id": "bank", "share": 1.0, "extra_per_second": 50}
    times = post(client, "incident", stir)
    now_ms = see(client, "now")["now_ms"]
    assert times["end_ms"] - times["start_ms"] == 3_600_000
    assert abs(now_ms - times["start_ms"]) < 5000
    truth = see(client, "truth", since=times["start_ms"], until=now_ms + 60_000, now=now_ms + 120_000)
    bank = [row for row in truth["settled"] if row[2] == "bank"]
    assert {row[0] for row in bank} == {"REJECTED"}
    assert sum(row[-1] for row in bank) > 2000


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("faults", {"shares": {"nonsense": 1}}),
        ("faults", {"nonsense": 1}),
        ("quirks", {"keeps": "middle"}),
        ("incident", {}),
        ("messages", {"messages": [{"message_id": "m", "group": "NONSENSE"}]}),
    ],
)
def test_what_the_controls_do_not_understand_is_refused_in_words(
    client: httpx.Client, what: str, body: dict[str, Any]
) -> None:
    assert post(client, what, body, 400)["error"]


def test_controls_refuse_an_account_or_channel_that_there_is_not(client: httpx.Client) -> None:
    for query in ({"account": "c"}, {"channel": "fax"}):
        assert client.get("/sandbox/truth", params=query).status_code == 404
    assert client.get("/sandbox/truth", params={"since": "yesterday"}).status_code == 400


def test_the_clock_of_the_api_can_be_wrong() -> None:
    with Sandbox(OPTIONS, clock_offset_ms=-600_000) as late, Sandbox(OPTIONS) as right:
        late_ms, right_ms = (HTTP.get(f"{s.base_url}/sandbox/now").json()["now_ms"] for s in (late, right))
    assert right_ms - late_ms == pytest.approx(600_000, abs=5000)


def test_a_taken_port_is_told() -> None:
    with Sandbox(OPTIONS) as first, pytest.raises(ListenError, match=r"can't listen on 127\.0\.0\.1"):
        Sandbox(OPTIONS, port=int(first.base_url.rpartition(":")[2])).__enter__()


def test_broken_requests_do_not_disturb_the_server(client: httpx.Client) -> None:
    for nonsense in (
        b"\x16\x03\x01\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /sandbox/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    ):
        with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as raw:
            raw.sendall(nonsense)
    assert client.get(LOGS, headers=KEY).status_code == 200


def test_the_program_tells_its_address_and_ends_on_sigterm() -> None:
    command = [
        sys.executable, "-m", "infobip_sandbox", "--seed", "3", "--rate", "5", "--quirk", "keeps=oldest",
        "--quirk", "utc_offset_minutes=60", "--fault", "500=1", "--traffic", "tick_ms=1000",
        "--account", "x:key-x:viber",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        word, url = process.stdout.readline().split()
        assert word == "listening"
        key = {"Authorization": "App key-x"}
        assert HTTP.get(url + LOGS, headers=key).status_code == 403
        assert HTTP.get(url + LOG_PATHS["viber"], headers=key).status_code == 500
        HTTP.post(f"{url}/sandbox/faults", json={"shares": {}}).raise_for_status()
        rows = HTTP.get(url + LOG_PATHS["viber"], headers=key).json()["results"]
        assert all(row["sentAt"].endswith(".000+0100") for row in rows)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--quirk", "keeps=middle"], "keeps"),
        (["--quirk", "nonsense=1"], "nonsense"),
        (["--fault", "500"], "NAME=VALUE"),
        (["--account", "x"], "NAME:KEY"),
        (["--account", "x:key-x:fax"], "fax"),
    ],
)
def test_wrong_flags_are_told_in_a_line(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == 2
    told = capsys.readouterr().err
    assert named in told
    assert "key-x" not in told
    assert told.count("\n") == 1


def test_the_options_of_a_sandbox_hold_from_the_first_request() -> None:
    options = SiteOptions(quirks=Quirks(order="oldest_first"), history_ms=3_600_000)
    with Sandbox(options) as sandbox:
        key = {"Authorization": f"App {sandbox.api_key}"}
        rows = HTTP.get(sandbox.base_url + LOGS, headers=key).json()["results"]
    assert [row["sentAt"] for row in rows] == sorted(row["sentAt"] for row in rows)
