"""What the person who is woken reads: the figures are in it, and the links lead somewhere."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.alerting.world import ALERTS, EXPORTER, TARGET, Gap, Hold, Rate, World

DAY = 24 * 60
NOW = DAY + 120
"""Minutes."""
BEFORE, AFTER = NOW - 60, 61


def sms(account: str) -> dict[str, str]:
    return {"account": account, "channel": "sms"}


def feed(account: str) -> dict[str, str]:
    return {**EXPORTER, **sms(account)}


def messages_world() -> World:
    """Every alert on messages fires at NOW, most for an account of its own."""
    world = World(every_s=60)
    for account in (
        "spikes",
        "account",
        "burns",
        "unsettled",
        "slow",
        "stuck",
        "dear",
        "silent",
        "low",
        "new",
    ):
        world.watched(Hold(NOW + 1, 30), labels=sms(account))

    world.messages("DELIVERED", Rate(NOW + 1, 20), labels=sms("spikes"), entity="R&D")
    world.messages("REJECTED", Rate(BEFORE, 0.2), Rate(AFTER, 10), labels=sms("spikes"), entity="R&D")
    world.messages("DELIVERED", Rate(NOW + 1, 20), labels=sms("spikes"), entity="")
    world.messages("UNDELIVERABLE", Rate(BEFORE, 0), Rate(AFTER, 10), labels=sms("spikes"), entity="")
    world.messages("EXPIRED", Rate(BEFORE, 0), Rate(AFTER, 20), labels=sms("spikes"), entity="")
    world.add(
        "infobip_message_failures_total",
        Rate(BEFORE, 0.2),
        Rate(AFTER, 10),
        labels=sms("spikes"),
        general_status="REJECTED",
        status="REJECTED_NOT_ENOUGH_CREDITS",
        error="EC_CREDITS",
        permanent="false",
        entity_id="R&D",
    )

    for number in range(40):
        world.messages("DELIVERED", Rate(NOW - 12, 1), Rate(13, 0), labels=sms("account"), entity=f"{number}")
        world.messages("REJECTED", Rate(NOW - 12, 0), Rate(13, 1), labels=sms("account"), entity=f"{number}")

    world.messages("DELIVERED", Rate(NOW + 1, 0.3), labels=sms("burns"))
    world.messages("UNDELIVERABLE", Rate(NOW + 1, 0.2), labels=sms("burns"))

    world.add("infobip_messages_sent_total", Rate(NOW + 1, 20), labels=sms("unsettled"))
    world.messages("DELIVERED", Rate(BEFORE, 20), Rate(AFTER, 0), labels=sms("unsettled"))

    name = "infobip_delivery_duration_seconds"
    of = {**sms("slow"), "general_status": "DELIVERED"}
    world.add(f"{name}_bucket", Rate(BEFORE, 10), Rate(AFTER, 0), labels=of, le="300")
    for bound in ("600", "+Inf"):
        world.add(f"{name}_bucket", Rate(NOW + 1, 10), labels=of, le=bound)
    world.add(f"{name}_count", Rate(NOW + 1, 10), labels=of)

    world.add("infobip_messages_in_flight", Hold(BEFORE, 20), Hold(AFTER, 400), labels=sms("stuck"))
    world.add(
        "infobip_oldest_in_flight_timestamp_seconds", Hold(NOW + 1, (NOW - 90) * 60), labels=sms("stuck")
    )
    world.add("infobip_messages_sent_total", Rate(NOW + 1, 10), labels=sms("stuck"))

    world.add("infobip_cost_total", Rate(BEFORE, 10), Rate(AFTER, 100), labels=sms("dear"), currency="EUR")
    world.messages("DELIVERED", Rate(BEFORE, 10), Rate(AFTER, 100), labels=sms("dear"))

    world.add("infobip_messages_sent_total", Rate(BEFORE, 10), Rate(AFTER, 0), labels=sms("silent"))
    world.add("infobip_last_message_sent_timestamp_seconds", Hold(NOW + 1, BEFORE * 60), labels=sms("silent"))
    world.add("infobip_messages_sent_total", Rate(BEFORE, 10), Rate(AFTER, 1), labels=sms("low"))

    world.messages("DELIVERED", Rate(NOW + 1, 100), labels=sms("new"))
    world.messages("BLOCKED", Rate(BEFORE, 0), Rate(AFTER, 1), labels=sms("new"))
    return world


def exporter_world() -> World:
    """Every alert on the exporter fires at NOW."""
    world = World(every_s=60)
    for account in ("loses", "refused", "throttled", "broken", "missed", "fresh", "many", "skewed"):
        world.watched(Hold(NOW + 1, 30), labels=sms(account))
    world.watched(Hold(BEFORE, 30), Hold(AFTER, 7200), labels=sms("behind"))
    world.watched(Hold(BEFORE, 30), Gap(AFTER), labels=sms("gone"))
    world.series['up{instance="exporter:10470",job="infobip"}'] = world.samples(Hold(NOW + 1, 1))
    world.series['infobip_exporter_build_info{instance="exporter:10470",job="infobip"}'] = world.samples(
        Hold(NOW + 1, 1)
    )
    dead = {"job": "other", "instance": "dead:10470"}
    world.add("up", Hold(BEFORE, 1), Hold(AFTER, 0), labels=dead)
    world.add("infobip_exporter_build_info", Hold(BEFORE, 1), Gap(AFTER), labels=dead)

    requests = "infobip_exporter_api_requests_total"
    world.add(
        "infobip_exporter_lost_seconds_total",
        Hold(NOW - 30, 0),
        Hold(31, 660),
        labels=sms("loses"),
        reason="expired",
    )
    world.add("infobip_up", Hold(BEFORE, 1), Hold(AFTER, 0), labels=sms("refused"))
    world.add(requests, Rate(BEFORE, 0), Rate(AFTER, 0.2), labels=sms("refused"), code="401")
    world.add(requests, Rate(NOW + 1, 18), labels=sms("throttled"), code="200")
    world.add(requests, Rate(BEFORE, 0), Rate(AFTER, 2), labels=sms("throttled"), code="429")
    world.add("infobip_messages_sent_total", Rate(NOW + 1, 30), labels=sms("broken"))
    rejected = "infobip_exporter_records_rejected_total"
    world.add(rejected, Rate(BEFORE, 0), Rate(AFTER, 10), labels=sms("broken"), reason="no_status")
    audited = "infobip_exporter_audit_messages_total"
    world.add(audited, Hold(NOW - 30, 0), Hold(31, 3), labels=sms("missed"), result="missed")
    fresh = "infobip_exporter_freshness_seconds"
    world.add(f"{fresh}_bucket", Rate(BEFORE, 10), Rate(AFTER, 0), labels=sms("fresh"), of="sent", le="300")
    for bound in ("600", "+Inf"):
        world.add(f"{fresh}_bucket", Rate(NOW + 1, 10), labels=sms("fresh"), of="sent", le=bound)
    world.add(f"{fresh}_count", Rate(NOW + 1, 10), labels=sms("fresh"), of="sent")
    world.add(
        "infobip_exporter_label_overflow_total",
        Hold(NOW - 30, 0),
        Hold(31, 4),
        labels=sms("many"),
        label="entity_id",
    )
    world.add("infobip_exporter_clock_skew_seconds", Hold(NOW + 1, -45), labels=sms("skewed"))
    world.add(
        "infobip_exporter_config_last_reload_successful", Hold(BEFORE, 1), Hold(AFTER, 0), labels=TARGET
    )
    world.add("infobip_exporter_log_lines_dropped_total", Hold(NOW - 30, 0), Hold(31, 7), labels=TARGET)
    return world


GRAFANA = "http://localhost:3000/d"
RUNBOOKS = "https://github.com/infobip-exporter/infobip-exporter/blob/main/docs/runbooks"


class Told(NamedTuple):
    """What an alert at NOW says."""

    severity: str
    labels: dict[str, str]
    """Beside severity and component."""
    began: float
    """The minute of the first sign: the link opens an hour before it."""
    dashboard: str
    summary: str
    description: str


TEXTS: dict[str, list[Told]] = {}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
@pytest.mark.parametrize("component", ["delivery", "exporter"])
def test_every_alert_tells_its_figures_and_links_its_dashboard_and_runbook(
    component: str, tmp_path: Path
) -> None:
    world = messages_world() if component == "delivery" else exporter_world()
    for name in sorted({each["alert"] for each in ALERTS if each["labels"]["component"] == component}):
        expected = []
        for told in TEXTS[name]:
            board, _, choices = told.dashboard.partition("?")
            since_ms = round((told.began - 60) * 60_000)
            annotations = {
                "summary": told.summary,
                "description": told.description,
                "dashboard_url": f"{GRAFANA}/{board}?from={since_ms}&to=now{choices and '&'}{choices}",
                "runbook_url": f"{RUNBOOKS}/{name}.md",
            }
            labels = {"severity": told.severity, "component": component, **told.labels}
            expected.append((labels, annotations))
        world.texts(NOW, name, expected)
    world.check(tmp_path)
