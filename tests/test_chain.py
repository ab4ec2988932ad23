"""From the demo to the pager: the rules in a hurry, and what is told."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infobip_sandbox import chain
from infobip_sandbox.chain import FASTER, configure, hurried
from tests.alerting.servers import HTTP, ready, until
from tests.alerting.world import GROUPS, REPOSITORY, RULES

needs_servers = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
    reason="Prometheus or Alertmanager is not on this machine",
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("for: 10m", "for: 60000ms"),
        ("increase(infobip_messages_total[5m])", "increase(infobip_messages_total[30000ms])"),
        ("x:sum[1w] offset 1h", "x:sum[60480000ms] offset 360000ms"),
        ("interval: 30s", "interval: 3000ms"),
        (
            "feed:infobip_messages:increase15m > 0",
            "feed:infobip_messages:increase15m > 0",
        ),
        ("infobip_messages_settled_per_sent:median1w", "infobip_messages_settled_per_sent:median1w"),
        ("window: 1h", "window: 1h"),
        ("in the last 15 minutes, > 14.4 * 3600", "in the last 15 minutes, > 14.4 * 3600"),
    ],
)
def test_durations_are_divided_and_nothing_else(given: str, expected: str) -> None:
    assert hurried(given, 10) == expected


def test_rules_in_a_hurry_are_the_same_rules() -> None:
    groups = [group for path in RULES for group in yaml.safe_load(hurried(path.read_text(), 60))["groups"]]
    for group, plain in zip(groups, GROUPS, strict=True):
        assert group["name"] == plain["name"]
        for rule, before in zip(group["rules"], plain["rules"], strict=True):
            assert rule.get("alert") == before.get("alert")
            assert rule.get("record") == before.get("record")
            assert rule.get("labels") == before.get("labels")


def test_configurations_name_the_places_given(tmp_path: Path) -> None:
    prometheus, alertmanager = configure(tmp_path, "127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", FASTER)
    config = yaml.safe_load(prometheus.read_text())
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:1"]}]
    assert config["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["127.0.0.1:2"]}]
    receivers = yaml.safe_load(alertmanager.read_text())["receivers"]
    urls = {each["webhook_configs"][0]["url"] for each in receivers if "webhook_configs" in each}
    assert urls == {
        "http://127.0.0.1:3/pager",
        "http://127.0.0.1:3/chat",
    }


@needs_servers
def test_configurations_in_a_hurry_are_valid(tmp_path: Path) -> None:
    prometheus, alertmanager = configure(tmp_path, "127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", 60)
    for command in (["promtool", "check", "config", prometheus], ["amtool", "check-config", alertmanager]):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@needs_servers
def test_the_pager_tells_what_alertmanager_sends_it_and_all_ends_with_the_chain(tmp_path: Path) -> None:
    told: list[str] = []
    with chain.chain("127.0.0.1:9", tmp_path, told.append) as words:
        alertmanager = next(word for word in words.split() if word.startswith("http") and word.endswith("/"))
        prometheus = next(word for word in words.split() if word.endswith("/alerts")).removesuffix("/alerts")
        until(lambda: ready(f"{alertmanager}-/ready") and ready(f"{prometheus}/-/ready"))
        labels = {"alertname": "Test", "severity": "critical"}
        alert = {"labels": labels, "annotations": {"summary": "only a test"}}
        HTTP.post(f"{alertmanager}api/v2/alerts", json=[alert]).raise_for_status()
        until(lambda: bool(told))
        assert told == ["pager: firing: Test: only a test"]
    assert not ready(f"{alertmanager}-/ready")
    assert not ready(f"{prometheus}/-/ready")


@needs_servers
def test_servers_end_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from infobip_sandbox.chain import chain\n"
        "with chain('127.0.0.1:9', Path(sys.argv[1]), print) as words:\n"
        "    print(words.split('http://')[1].split('/')[0], flush=True)\n"
        "    time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as demo:
        assert demo.stdout is not None
        prometheus = f"http://{demo.stdout.readline().strip()}/-/ready"
        until(lambda: ready(prometheus))
        demo.kill()
    until(lambda: not ready(prometheus))


def test_what_is_told_once_is_not_told_again_until_it_changes() -> None:
    told: list[str] = []

    def alert(name: str, status: str) -> dict[str, object]:
        labels = {"alertname": name}
        return {"labels": labels, "annotations": {"summary": "!"}, "status": status, "fingerprint": name}

    with chain._pager(told.append) as url:
        for alerts in (
            [alert("A", "firing")],
            [alert("A", "firing"), alert("B", "firing")],
            [alert("A", "resolved")],
        ):
            HTTP.post(f"{url}/chat", json={"alerts": alerts}).raise_for_status()
    assert told == ["chat: firing: A: !", "chat: firing: B: !", "chat: resolved: A: !"]


def test_a_machine_without_servers_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with chain.chain("127.0.0.1:9", tmp_path, print) as words:
        first, second = words.splitlines()
    assert first == "The demo starts no Prometheus of its own: prometheus and alertmanager not found here."
    # In a container beside a Prometheus this is as true as on a machine without one.
    assert second.startswith("A Prometheus that scrapes it with prometheus/rules, as compose.yaml's does,")


@needs_servers
def test_an_installation_without_the_rules_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(chain, "RULES", tmp_path / "nowhere")
    with chain.chain("127.0.0.1:9", tmp_path, print) as words:
        assert "no Prometheus of its own: the rules are in the source tree only." in words
