"""What the person who is woken reads: the figures are in it, and the links lead somewhere."""

import shutil
from pathlib import Path

import pytest

from tests.alerting.world import ALERTS, Hold, Part, Rate, World

DAY = 24 * 60
NOW = DAY + 120
"""Minutes."""


def world() -> World:
    """Every alert fires at NOW, most for an account of its own."""
    world = World()
    before, after = NOW - 60, 61
    for account in ("spikes", "burns", "slow", "stuck", "dear", "silent", "loses", "refused", "throttled"):
        world.watched(Hold(NOW + 1, 30), labels=sms(account))
    world.watched(Hold(before, 30), Hold(after, 7200), labels=sms("behind"))
    world.series['up{instance="gone:10470",job="infobip"}'] = [0.0] * (2 * NOW + 2)

    world.messages("DELIVERED", Rate(NOW + 1, 20), labels=sms("spikes"), entity="R&D")
    world.messages("REJECTED", Rate(before, 0.2), Rate(after, 10), labels=sms("spikes"), entity="R&D")
    world.messages("DELIVERED", Rate(NOW + 1, 20), labels=sms("spikes"), entity="")
    world.messages("UNDELIVERABLE", Rate(before, 0), Rate(after, 10), labels=sms("spikes"), entity="")
    world.messages("DELIVERED", Rate(before, 20), Rate(after, 0), labels=sms("burns"))
    world.messages("EXPIRED", Rate(before, 0), Rate(after, 20), labels=sms("burns"))

    name = "infobip_delivery_duration_seconds"
    of = {**sms("slow"), "general_status": "DELIVERED"}
    world.add(f"{name}_bucket", Rate(before, 10), Rate(after, 0), labels=of, le="300")
    for bound in ("600", "+Inf"):
        world.add(f"{name}_bucket", Rate(NOW + 1, 10), labels=of, le=bound)
    world.add(f"{name}_count", Rate(NOW + 1, 10), labels=of)

    world.add("infobip_messages_in_flight", Hold(before, 20), Hold(after, 400), labels=sms("stuck"))
    world.add(
        "infobip_oldest_in_flight_timestamp_seconds", Hold(NOW + 1, (NOW - 90) * 60), labels=sms("stuck")
    )
    world.add("infobip_messages_sent_total", Rate(NOW + 1, 10), labels=sms("stuck"))

    world.add("infobip_cost_total", Rate(before, 10), Rate(after, 100), labels=sms("dear"), currency="EUR")
    world.messages("DELIVERED", Rate(before, 10), Rate(after, 100), labels=sms("dear"))

    world.add("infobip_messages_sent_total", Rate(before, 10), Rate(after, 0), labels=sms("silent"))
    world.add("infobip_last_message_sent_timestamp_seconds", Hold(NOW + 1, before * 60), labels=sms("silent"))

    lost: list[Part] = [Hold(NOW - 30, 0), Hold(31, 660)]
    world.add("infobip_exporter_lost_seconds_total", *lost, labels=sms("loses"), reason="expired")
    world.add("infobip_up", Hold(before, 1), Hold(after, 0), labels=sms("refused"))
    world.add(
        "infobip_exporter_api_requests_total",
        Rate(before, 0),
        Rate(after, 0.2),
        labels=sms("refused"),
        code="401",
    )
    world.add("infobip_exporter_api_requests_total", Rate(NOW + 1, 18), labels=sms("throttled"), code="200")
    world.add(
        "infobip_exporter_api_requests_total",
        Rate(before, 0),
        Rate(after, 2),
        labels=sms("throttled"),
        code="429",
    )
    return world


def sms(account: str) -> dict[str, str]:
    return {"account": account, "channel": "sms"}


GRAFANA = "http://localhost:3000/d"
RUNBOOKS = "https://github.com/infobip-exporter/infobip-exporter/blob/main/docs/runbooks"

TEXTS = {
    "RejectedSpike": (
        "spikes sms: 33.33% of the messages of entity R&D are REJECTED",
        "Of the messages that settled in the last 15 minutes, 33.33% are REJECTED: 150 messages. In the last week it "
        "was 0.4975% of the account's. Most common error group: OPERATOR_ERRORS.",
        "infobip-delivery?var-account=spikes&var-channel=sms&var-entity=R%26D",
    ),
    "UndeliverableSpike": (
        "spikes sms: 33.33% of the messages without an entity are UNDELIVERABLE",
        "Of the messages that settled in the last 15 minutes, 33.33% are UNDELIVERABLE: 150 messages. In the last week "
        "it was 0% of the account's. Most common error group: HANDSET_ERRORS.",
        "infobip-delivery?var-account=spikes&var-channel=sms&var-entity=",
    ),
    "ErrorBudgetBurn": (
        "burns sms: 95.45% of the messages of the last hour failed",
        "Of the messages that settled in the last hour, 95.45% are UNDELIVERABLE, EXPIRED or REJECTED. Over a month, at "
        "most 5% may be.",
        "infobip-delivery?var-account=burns&var-channel=sms",
    ),
    "DeliverySlow": (
        "slow sms: messages take 9m 45s to arrive",
        "One in twenty of the messages delivered in the last 30 minutes took longer than 9m 45s from sentAt to doneAt. "
        "The limit is 5m 0s.",
        "infobip-delivery?var-account=slow&var-channel=sms",
    ),
    "MessagesStuckInFlight": (
        "stuck sms: 400 messages have no outcome",
        "400 messages are ACCEPTED or PENDING, the oldest for 1h 30m 0s. In the last week there were 20 on average.",
        "infobip-delivery?var-account=stuck&var-channel=sms",
    ),
    "CostSpike": (
        "dear sms: messages cost 6000.00 EUR in an hour",
        "By price list, the messages that settled in the last hour cost 6000.00 EUR. 98 % of the last week's hours cost "
        "less than 600.00 EUR.",
        "infobip-cost?var-account=dear&var-channel=sms&var-currency=EUR",
    ),
    "TrafficStopped": (
        "silent sms: hardly any message is sent any more",
        "0 messages were sent in the last 30 minutes, less than a fiftieth of what is usual at this time. The exporter "
        "reads the log without trouble. The last message was sent 1h 0m 0s ago.",
        "infobip-delivery?var-account=silent&var-channel=sms",
    ),
    "ExporterDown": (
        "The Infobip exporter gone:10470 can't be scraped",
        "Prometheus has had no metrics from job infobip for 5 minutes. Nothing is lost as long as the exporter is back "
        "within 48 hours.",
        "infobip-exporter",
    ),
    "ExporterBehind": (
        "behind sms: the exporter is 2h 0m 0s behind",
        "2h 0m 0s of the log are not read. What is not read 48 hours after it was sent is lost. Delivery alerts of this "
        "account and channel are quiet meanwhile.",
        "infobip-exporter?var-account=behind&var-channel=sms",
    ),
    "ExporterLosingData": (
        "loses sms: 11m 0s of the log could not be counted (expired)",
        "In the last hour, 11m 0s of sent time were given up: they left the 48 h log before they were read. The totals "
        "are too low by the messages sent then.",
        "infobip-exporter?var-account=loses&var-channel=sms",
    ),
    "ApiRefusing": (
        "refused sms: Infobip refuses to give the log (401)",
        "The API key is not accepted. 6 requests were refused in the last 30 minutes and none has succeeded since. "
        "Nothing is lost if this is mended within 48 hours.",
        "infobip-exporter?var-account=refused&var-channel=sms",
    ),
    "ApiThrottled": (
        "throttled sms: Infobip throttles the reading of the log",
        "10% of the requests of the last 15 minutes were answered 429. The exporter waits and goes on; if it falls "
        "behind, ExporterBehind follows.",
        "infobip-exporter?var-account=throttled&var-channel=sms",
    ),
}

LABELS = {
    "RejectedSpike": {**sms("spikes"), "entity_id": "R&D", "general_status": "REJECTED"},
    "UndeliverableSpike": {**sms("spikes"), "general_status": "UNDELIVERABLE"},
    "ErrorBudgetBurn": {**sms("burns"), "window": "1h"},
    "DeliverySlow": sms("slow"),
    "MessagesStuckInFlight": sms("stuck"),
    "CostSpike": {**sms("dear"), "currency": "EUR"},
    "TrafficStopped": sms("silent"),
    "ExporterDown": {"job": "infobip", "instance": "gone:10470"},
    "ExporterBehind": sms("behind"),
    "ExporterLosingData": {**sms("loses"), "reason": "expired"},
    "ApiRefusing": {**sms("refused"), "code": "401"},
    "ApiThrottled": sms("throttled"),
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_every_alert_tells_its_figures_and_links_its_dashboard_and_runbook(tmp_path: Path) -> None:
    everything = world()
    for alert in ALERTS:
        summary, description, dashboard = TEXTS[alert["alert"]]
        if alert["labels"].get("window") not in {None, "1h"} or alert["expr"].rstrip().endswith("24 * 3600"):
            continue  # the same alert over another window
        everything.text(
            NOW,
            alert["alert"],
            {**alert["labels"], **LABELS[alert["alert"]]},
            {
                "summary": summary,
                "description": description,
                "dashboard_url": f"{GRAFANA}/{dashboard}",
                "runbook_url": f"{RUNBOOKS}/{alert['alert']}.md",
            },
        )
    everything.check(tmp_path)
