"""The example configurations are valid, and the right people are told."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from tests.alerting.servers import alertmanager, until
from tests.alerting.world import ALERTS, REPOSITORY

CONFIG = REPOSITORY / "prometheus" / "alertmanager.yml"

amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not on this machine")
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")


def run(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@promtool
def test_the_example_for_prometheus_is_valid() -> None:
    assert "3 rule files found" in run(
        "promtool", "check", "config", str(REPOSITORY / "prometheus" / "prometheus.yml")
    )


def test_compose_gives_prometheus_the_example_with_the_names_of_its_services() -> None:
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    example = (REPOSITORY / "prometheus" / "prometheus.yml").read_text()
    for port, service in (("10470", "exporter"), ("9093", "alertmanager")):
        assert service in compose["services"]
        example = example.replace(f"localhost:{port}", f"{service}:{port}")
    assert yaml.safe_load(compose["configs"]["prometheus"]["content"]) == yaml.safe_load(example)


@promtool
def test_the_rules_are_valid_and_each_is_there_once() -> None:
    said = run(
        "promtool",
        "check",
        "rules",
        *(str(path) for path in sorted((REPOSITORY / "prometheus/rules").iterdir())),
    )
    assert "duplicate" not in said


@amtool
def test_the_example_for_alertmanager_is_valid() -> None:
    assert "2 receivers" in run("amtool", "check-config", str(CONFIG))


@amtool
@pytest.mark.parametrize(
    ("alert", "severity"), sorted({(a["alert"], a["labels"]["severity"]) for a in ALERTS})
)
def test_critical_alerts_go_to_the_pager_and_others_to_the_chat(alert: str, severity: str) -> None:
    receiver = "pager" if severity == "critical" else "chat"
    labels = [f"alertname={alert}", f"severity={severity}", "account=main", "channel=instagram"]
    run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        f"--verify.receivers={receiver}",
        *labels,
    )


BLIND = {"account": "main", "channel": "instagram"}
SEEING = {"account": "main", "channel": "sms"}


@pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None, reason="Alertmanager is not on this machine"
)
@pytest.mark.parametrize("cause", ["ExporterBehind", "ApiRefusing"])
def test_a_blind_exporter_silences_its_own_delivery_alerts_and_no_others(cause: str, tmp_path: Path) -> None:
    delivery = {a["alert"]: a["labels"] for a in ALERTS if a["labels"]["component"] == "delivery"}
    told = [{"alertname": cause, "severity": "critical", "component": "exporter", **BLIND}]
    told += [
        {"alertname": name, **labels, **feed} for name, labels in delivery.items() for feed in (BLIND, SEEING)
    ]
    with alertmanager(CONFIG, tmp_path) as url:
        httpx.post(f"{url}/api/v2/alerts", json=[{"labels": labels} for labels in told]).raise_for_status()
        until(lambda: len(httpx.get(f"{url}/api/v2/alerts").json()) == len(told))
        alerts = httpx.get(f"{url}/api/v2/alerts").json()
    inhibited = {
        (a["labels"]["alertname"], a["labels"]["channel"]) for a in alerts if a["status"]["inhibitedBy"]
    }
    assert inhibited == {(name, BLIND["channel"]) for name in delivery}
