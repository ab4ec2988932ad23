"""The example configurations are valid, and the right people are told."""

from pathlib import Path

import pytest
import yaml

from tests.alerting.servers import HTTP, accepted, alertmanager, needs, until
from tests.alerting.world import ALERTS, REPOSITORY, RULES

CONFIG = REPOSITORY / "prometheus" / "alertmanager.yml"


@needs("promtool")
def test_the_example_for_prometheus_and_the_rules_are_valid() -> None:
    assert "3 rule files found" in accepted(
        "promtool", "check", "config", REPOSITORY / "prometheus" / "prometheus.yml"
    )
    assert "duplicate" not in accepted("promtool", "check", "rules", *RULES)


def test_compose_gives_prometheus_the_example_with_the_names_of_its_services() -> None:
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    example = (REPOSITORY / "prometheus" / "prometheus.yml").read_text()
    for port, service in (("10470", "exporter"), ("9093", "alertmanager")):
        assert service in compose["services"]
        example = example.replace(f"localhost:{port}", f"{service}:{port}")
    assert yaml.safe_load(compose["configs"]["prometheus"]["content"]) == yaml.safe_load(example)


@needs("amtool")
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "chat"), ("none", "watchdog")]
)
def test_critical_alerts_page_warnings_go_to_the_chat_and_the_watchdog_to_its_service(
    severity: str, receiver: str
) -> None:
    assert "3 receivers" in accepted("amtool", "check-config", CONFIG)
    routed = (
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        f"--verify.receivers={receiver}",
    )
    for alert in {each["alert"] for each in ALERTS if each["labels"]["severity"] == severity}:
        labels = (f"alertname={alert}", f"severity={severity}", "account=main", "channel=instagram")
        accepted(*routed, *labels)


HERE = {"job": "infobip", "instance": "infobip", "account": "main", "channel": "instagram"}
ELSEWHERE = {**HERE, "channel": "sms"}
STAGING = {**HERE, "job": "infobip-staging"}
DELIVERY = {each["alert"] for each in ALERTS if each["labels"]["component"] == "delivery"}
SPIKES = {"RejectedSpike", "UndeliverableSpike", "FailureSpike"}
FOLLOWS = {"ErrorBudgetBurn", "MessagesStuckInFlight", "StatusUnknown", "TrafficLow", "DestinationFailing"}
INHIBITED: dict[str, set[str]] = {
    "ExporterBlind": DELIVERY | {"ExporterBehind", "CountsLate"},
    "ApiRefusing": DELIVERY | {"ExporterBlind", "ExporterBehind", "CountsLate"},
    "ApiThrottled": {"ExporterBehind", "CountsLate"},
    "ExporterBehind": {"CountsLate", "ExporterBehind"},
    "RecordsRejected": {"NothingSettles", "TrafficStopped", "TrafficLow", "RecordsRejected"},
    "AccountFailing": SPIKES | FOLLOWS,
    **dict.fromkeys(sorted(SPIKES | {"NothingSettles", "TrafficStopped"}), FOLLOWS),
}
"""By what fires, the alerts of the same feed that are held back: one incident pages once."""


def labels_of(alert: str, severity: str | None = None) -> dict[str, str]:
    """The labels in the rule; of an alert with two severities, the warning's unless one is chosen."""
    found = {each["labels"]["severity"]: each["labels"] for each in ALERTS if each["alert"] == alert}
    return {"alertname": alert, **found[severity or max(found)]}


def held_back(url: str, cause: str, severity: str) -> list[tuple[str, str, str]]:
    """Name, job and channel of each alert that another one inhibits, but for those of the cause itself."""
    return sorted(
        (labels["alertname"], labels["job"], labels["channel"])
        for alert in HTTP.get(f"{url}/api/v2/alerts").json()
        for labels in [alert["labels"]]
        if alert["status"]["inhibitedBy"] and (labels["alertname"], labels["severity"]) != (cause, severity)
    )


@needs("prometheus-alertmanager")
@pytest.mark.parametrize("cause", INHIBITED)
def test_one_incident_pages_once_and_other_feeds_are_not_silenced(cause: str, tmp_path: Path) -> None:
    severity = min(each["labels"]["severity"] for each in ALERTS if each["alert"] == cause)
    told = []
    # Alertmanager takes in what may hold back others one by one: where the last ones are held back, it has all.
    for target in sorted({each["alert"] for each in ALERTS}, key=lambda name: name in INHIBITED[cause]):
        # An account of its own for each, or others would hold it back as well.
        told += [{**labels_of(cause, severity), **HERE, "account": target}]
        if labels_of(target) != labels_of(cause, severity):
            told += [{**labels_of(target), **feed, "account": target} for feed in (HERE, ELSEWHERE, STAGING)]
    with alertmanager(CONFIG, tmp_path) as url:
        HTTP.post(f"{url}/api/v2/alerts", json=[{"labels": labels} for labels in told]).raise_for_status()
        until(lambda: len(held_back(url, cause, severity)) >= len(INHIBITED[cause]))
        found = held_back(url, cause, severity)
    assert found == sorted((name, HERE["job"], HERE["channel"]) for name in INHIBITED[cause])


def test_no_alert_is_held_back_by_what_it_holds_back() -> None:
    for cause, effects in INHIBITED.items():
        assert all(cause == effect or cause not in INHIBITED.get(effect, set()) for effect in effects)


def test_what_holds_back_is_of_the_same_feed() -> None:
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        assert set(rule["equal"]) >= set(HERE)
