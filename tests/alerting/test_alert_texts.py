"""What the person who is woken reads: the figures are in it, and the links lead somewhere."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.alerting.promtool import check_alone
from tests.alerting.servers import needs
from tests.alerting.world import ALERTS, EXPORTER, TARGET, Gap, Hold, Rate, World

NOW = 26 * 60
"""Minutes: a day, and two hours."""
BEFORE, AFTER = NOW - 60, 61
SENT = "infobip_messages_sent_total"


def sms(account: str) -> dict[str, str]:
    return {"account": account, "channel": "sms"}


def rates(before: float, after: float | None = None) -> tuple[Rate, Rate]:
    """Messages a minute before the last hour and in it."""
    return Rate(BEFORE, before), Rate(AFTER, before if after is None else after)


def slow(world: World, metric: str, account: str, **of: str) -> None:
    """A histogram: all within 300 s, and in the last hour within 600."""
    labels = sms(account)
    for bound, after in (("300", 0), ("600", 10), ("+Inf", 10)):
        world.add(f"{metric}_bucket", *rates(10, after), labels=labels, le=bound, **of)
    world.add(f"{metric}_count", *rates(10), labels=labels, **of)


def messages_world(*, by_campaign: bool = False) -> World:
    """Every alert on messages fires at NOW, most for an account of its own."""
    world = World(every_s=60, by_campaign=by_campaign)
    accounts = "spikes account burns unsettled slow stuck dear silent low new pumped blocked"
    for account in accounts.split():
        world.watched(Hold(NOW + 1, 30), labels=sms(account))

    for entity, status, before, after in (
        ("R&D", "DELIVERED", 20, 20),
        ("R&D", "REJECTED", 0.2, 10),
        ("", "DELIVERED", 20, 20),
        ("", "UNDELIVERABLE", 0, 10),
        ("", "EXPIRED", 0, 20),
    ):
        world.messages(status, *rates(before, after), labels=sms("spikes"), entity=entity)
    world.add(
        "infobip_message_failures_total",
        *rates(0.2, 10),
        labels=sms("spikes"),
        general_status="REJECTED",
        status="REJECTED_NOT_ENOUGH_CREDITS",
        error="EC_CREDITS",
        permanent="false",
        entity_id="R&D",
    )

    for number in range(40):
        for status, before, after in (("DELIVERED", 1, 0), ("REJECTED", 0, 1)):
            parts = (Gap(NOW - 200), Rate(188, before), Rate(13, after))
            world.messages(status, *parts, labels=sms("account"), entity=f"{number}")

    world.messages("DELIVERED", *rates(0.3), labels=sms("burns"))
    world.messages("UNDELIVERABLE", *rates(0.2), labels=sms("burns"))

    world.add(SENT, *rates(20), labels=sms("unsettled"))
    world.messages("DELIVERED", *rates(20, 0), labels=sms("unsettled"))

    slow(world, "infobip_delivery_duration_seconds", "slow", general_status="DELIVERED")

    world.add("infobip_messages_in_flight", Hold(BEFORE, 20), Hold(AFTER, 400), labels=sms("stuck"))
    oldest = Hold(NOW + 1, (NOW - 90) * 60)
    world.add("infobip_oldest_in_flight_timestamp_seconds", oldest, labels=sms("stuck"))
    world.add(SENT, *rates(10), labels=sms("stuck"))

    world.add("infobip_cost_total", *rates(10, 100), labels=sms("dear"), currency="EUR")
    world.messages("DELIVERED", *rates(10, 100), labels=sms("dear"))

    world.add(SENT, *rates(10, 0), labels=sms("silent"))
    world.add("infobip_last_message_sent_timestamp_seconds", Hold(NOW + 1, BEFORE * 60), labels=sms("silent"))
    world.add(SENT, *rates(10, 1), labels=sms("low"))

    world.messages("DELIVERED", *rates(100), labels=sms("new"))
    world.messages("BLOCKED", *rates(0, 1), labels=sms("new"))

    world.add(SENT, *rates(1, 20), labels=sms("pumped"), country="LV", mcc_mnc="24701")
    world.add(SENT, *rates(0, 10), labels=sms("pumped"), country="EE")
    world.add(SENT, *rates(1), labels=sms("pumped"), mcc_mnc="26201")

    of = {**sms("blocked"), "country": "FR"}
    world.add("infobip_messages_total", *rates(4), labels=of, general_status="DELIVERED")
    world.add("infobip_messages_total", *rates(0, 1), labels=of, general_status="EXPIRED")
    world.messages("DELIVERED", *rates(40), labels=sms("blocked"), entity="")
    return world


def exporter_world() -> World:
    """Every alert on the exporter fires at NOW."""
    world = World(every_s=60)
    for account in "loses refused throttled broken missed fresh many skewed".split():
        world.watched(Hold(NOW + 1, 30), labels=sms(account))
    world.watched(Hold(BEFORE, 30), Hold(AFTER, 7200), labels=sms("behind"))
    world.watched(Hold(BEFORE, 30), Gap(AFTER), labels=sms("gone"))
    for name in ("up", "infobip_exporter_build_info"):
        world.add(name, Hold(NOW + 1, 1), labels=TARGET)
    dead = {"job": "other", "instance": "dead:10470"}
    world.add("up", Hold(BEFORE, 1), Hold(AFTER, 0), labels=dead)
    world.add("infobip_exporter_build_info", Hold(BEFORE, 1), Gap(AFTER), labels=dead)

    world.add("infobip_up", Hold(BEFORE, 1), Hold(AFTER, 0), labels=sms("refused"))
    requests = "infobip_exporter_api_requests_total"
    world.add(requests, *rates(0, 0.2), labels=sms("refused"), code="401")
    world.add(requests, *rates(18), labels=sms("throttled"), code="200")
    world.add(requests, *rates(0, 2), labels=sms("throttled"), code="429")
    for result in ("verified", "recovered"):
        world.add("infobip_exporter_audit_messages_total", *rates(1), labels=sms("missed"), result=result)
    world.add(SENT, *rates(30), labels=sms("broken"))
    rejected = "infobip_exporter_records_rejected_total"
    world.add(rejected, *rates(0, 10), labels=sms("broken"), reason="no_status")
    slow(world, "infobip_exporter_freshness_seconds", "fresh", of="sent")
    for metric, labels, amount in (
        ("lost_seconds", {**sms("loses"), "reason": "expired"}, 660),
        ("audit_messages", {**sms("missed"), "result": "missed"}, 3),
        ("label_overflow", {**sms("many"), "label": "entity_id"}, 4),
        ("log_lines_dropped", TARGET, 7),
    ):
        world.add(f"infobip_exporter_{metric}_total", Hold(NOW - 30, 0), Hold(31, amount), labels=labels)
    world.add("infobip_exporter_clock_skew_seconds", Hold(NOW + 1, -45), labels=sms("skewed"))
    reloaded = "infobip_exporter_config_last_reload_successful"
    world.add(reloaded, Hold(BEFORE, 1), Hold(AFTER, 0), labels=TARGET)
    return world


TEXTS = yaml.safe_load(Path(__file__).with_name("alert_texts.yml").read_text())
GRAFANA = "http://localhost:3000/d"
RUNBOOKS = "https://github.com/infobip-exporter/infobip-exporter/blob/main/docs/runbooks"


def expected(name: str, component: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Labels and annotations of each that fires at NOW."""
    board = "infobip-cost" if name == "CostSpike" else f"infobip-{component}"
    for told in TEXTS[name]:
        severity, labels = next(iter(told.items()))
        chosen = ""
        if account := labels.get("account"):
            labels = EXPORTER | sms(account) | labels
            chosen = f"&var-job=infobip&var-instance=infobip&var-account={account}&var-channel=sms"
        # The link opens an hour before the first sign.
        since_ms = (NOW - told["since"] - 60) * 60_000
        annotations = {
            "summary": told["summary"],
            "description": told["description"],
            "dashboard_url": f"{GRAFANA}/{board}?from={since_ms}&to=now{chosen}{told.get('chosen', '')}",
            "runbook_url": f"{RUNBOOKS}/{name}.md",
        }
        yield {"severity": severity, "component": component, **labels}, annotations


@needs("promtool")
@pytest.mark.parametrize(
    ("component", "make_world"),
    [
        ("delivery", messages_world),
        ("delivery", partial(messages_world, by_campaign=True)),
        ("exporter", exporter_world),
    ],
    ids=["delivery", "delivery by campaign", "exporter"],
)
def test_every_alert_tells_its_figures_and_links_its_dashboard_and_runbook(
    component: str, make_world: Callable[[], World], tmp_path: Path
) -> None:
    world = make_world()
    for name in sorted({each["alert"] for each in ALERTS if each["labels"]["component"] == component}):
        world.texts(NOW, name, list(expected(name, component)))
        if all(told["since"] <= AFTER for told in TEXTS[name]):
            world.texts(BEFORE - 1, name, [])
    check_alone(world, tmp_path)
