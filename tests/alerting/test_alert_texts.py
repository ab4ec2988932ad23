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


def messages_world(*, by_campaign: bool = False) -> World:
    """Every alert on messages fires at NOW, most for an account of its own."""
    world = World(every_s=60, by_campaign=by_campaign)
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
        "pumped",
        "blocked",
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
        for status, before, after in (("DELIVERED", 1, 0), ("REJECTED", 0, 1)):
            parts = (Gap(NOW - 200), Rate(188, before), Rate(13, after))
            world.messages(status, *parts, labels=sms("account"), entity=f"{number}")

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

    sent = "infobip_messages_sent_total"
    world.add(sent, Rate(BEFORE, 1), Rate(AFTER, 20), labels=sms("pumped"), country="LV", mcc_mnc="24701")
    world.add(sent, Rate(BEFORE, 0), Rate(AFTER, 10), labels=sms("pumped"), country="EE")
    world.add(sent, Rate(NOW + 1, 1), labels=sms("pumped"), mcc_mnc="26201")
    of = {**sms("blocked"), "country": "FR"}
    world.add("infobip_messages_total", Rate(NOW + 1, 4), labels=of, general_status="DELIVERED")
    world.messages("DELIVERED", Rate(NOW + 1, 40), labels=sms("blocked"), entity="")
    world.add("infobip_messages_total", Rate(BEFORE, 0), Rate(AFTER, 1), labels=of, general_status="EXPIRED")
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


def choices(account: str) -> str:
    return f"var-job=infobip&var-instance=infobip&var-account={account}&var-channel=sms"


TEXTS: dict[str, list[Told]] = {
    "AccountFailing": [
        Told(
            "critical",
            feed("account"),
            NOW - 4,
            f"infobip-delivery?{choices('account')}",
            "account sms: 80% of the messages fail beyond the usual, over many entities",
            "Of the messages that settled in the last 15 minutes, 80% failed beyond the usual share of their entities.",
        ),
    ],
    "CostSpike": [
        Told(
            "warning",
            {**feed("dear"), "currency": "EUR"},
            NOW - 53,
            f"infobip-cost?{choices('dear')}&var-currency=EUR",
            "dear sms: messages cost 6000.00 EUR in an hour",
            "By price list, the messages that settled in the last hour cost 6000.00 EUR. The last week's dearest hours allow 1200.00 EUR.",
        ),
    ],
    "DeliverySlow": [
        Told(
            "warning",
            feed("slow"),
            NOW - 58,
            f"infobip-delivery?{choices('slow')}",
            "slow sms: messages take 9m 45s to arrive",
            "One in twenty of the messages delivered in the last 30 minutes took longer than 9m 45s from sentAt to doneAt. The limit is 5m 0s.",
        ),
    ],
    "DestinationFailing": [
        Told(
            "warning",
            {**feed("blocked"), "country": "FR"},
            NOW - 47,
            f"infobip-delivery?{choices('blocked')}",
            "blocked sms: 20% of the messages to FR fail",
            "Of the messages that settled in the last hour. At this time it was at most 0% on the last days.",
        ),
    ],
    "DestinationSpike": [
        Told(
            "warning",
            {**feed("pumped"), "country": "EE"},
            NOW - 53,
            f"infobip-delivery?{choices('pumped')}",
            "pumped sms: 600 messages in an hour to EE, unusually many",
            "At this time there were at most 0 on the last days. It may be a campaign, or somebody who makes you send messages to"
            " numbers that earn money by them.",
        ),
        Told(
            "warning",
            {**feed("pumped"), "country": "LV", "mcc_mnc": "24701"},
            NOW - 53,
            f"infobip-delivery?{choices('pumped')}",
            "pumped sms: 1200 messages in an hour to LV network 24701, unusually many",
            "At this time there were at most 60 on the last days. It may be a campaign, or somebody who makes you send messages to"
            " numbers that earn money by them.",
        ),
    ],
    "ErrorBudgetBurn": [
        Told(
            "warning",
            {**feed("burns"), "window": "1d"},
            NOW - 1539,
            f"infobip-delivery?{choices('burns')}",
            "burns sms: 40% of the messages of the last day failed",
            "Of the messages that settled in the last day, 40% failed. Over a month, at most 5% may fail.",
        ),
        Told(
            "warning",
            {**feed("burns"), "window": "6h"},
            NOW - 1539,
            f"infobip-delivery?{choices('burns')}",
            "burns sms: 39.99% of the messages of the last 6 hours failed",
            "Of the messages that settled in the last 6 hours, 39.99% failed. Over a month, at most 5% may fail.",
        ),
    ],
    "FailureSpike": [
        Told(
            "critical",
            {**feed("spikes"), "general_status": "EXPIRED"},
            NOW - 59,
            f"infobip-delivery?{choices('spikes')}&var-entity=",
            "spikes sms: 40% of the messages without an entity are EXPIRED",
            "300 messages ended EXPIRED in the last 15 minutes. Usual for this entity: 0%.",
        ),
    ],
    "MessagesStuckInFlight": [
        Told(
            "warning",
            feed("stuck"),
            NOW - 29,
            f"infobip-delivery?{choices('stuck')}",
            "stuck sms: 400 messages have no outcome",
            "400 messages are ACCEPTED or PENDING, the oldest for 1h 30m 0s. In the last week there were 20 on average.",
        ),
    ],
    "NothingSettles": [
        Told(
            "critical",
            feed("unsettled"),
            NOW - 46,
            f"infobip-delivery?{choices('unsettled')}",
            "unsettled sms: messages are sent, but only 0% settle",
            "300 messages were sent in the last 15 minutes. For 0% as many a final status arrived. Usually it is 100%.",
        ),
    ],
    "RejectedSpike": [
        Told(
            "critical",
            {**feed("spikes"), "entity_id": "R&D", "general_status": "REJECTED"},
            NOW - 57,
            f"infobip-delivery?{choices('spikes')}&var-entity=R%26D",
            "spikes sms: 33.33% of the messages of entity R&D are REJECTED, mostly REJECTED_NOT_ENOUGH_CREDITS",
            "150 messages ended REJECTED in the last 15 minutes. Usual for this entity: 0.9901%. Most common error: EC_CREDITS.",
        ),
    ],
    "StatusUnknown": [
        Told(
            "warning",
            {**feed("new"), "general_status": "BLOCKED"},
            NOW - 59,
            f"infobip-delivery?{choices('new')}",
            "new sms: messages end as BLOCKED, which is not a known status group",
            "60 messages of the last hour. They count as failed. If BLOCKED is fine, say so in infobip-recording.yml.",
        ),
    ],
    "TrafficLow": [
        Told(
            "warning",
            feed("low"),
            NOW - 33,
            f"infobip-delivery?{choices('low')}&var-entity=",
            "low sms: few messages without an entity are sent",
            "30 messages were sent in the last 30 minutes, less than a fifth of what is usual at this time.",
        ),
        Told(
            "warning",
            feed("silent"),
            NOW - 35,
            f"infobip-delivery?{choices('silent')}&var-entity=",
            "silent sms: few messages without an entity are sent",
            "0 messages were sent in the last 30 minutes, less than a fifth of what is usual at this time.",
        ),
    ],
    "TrafficStopped": [
        Told(
            "critical",
            feed("silent"),
            NOW - 30,
            f"infobip-delivery?{choices('silent')}",
            "silent sms: hardly any message is sent any more",
            "0 messages were sent in the last 30 minutes, less than a fiftieth of what is usual at this time. The exporter reads the log without errors. The last message was sent 1h 0m 0s ago.",
        ),
    ],
    "UndeliverableSpike": [
        Told(
            "critical",
            {**feed("spikes"), "general_status": "UNDELIVERABLE"},
            NOW - 55,
            f"infobip-delivery?{choices('spikes')}&var-entity=",
            "spikes sms: 20% of the messages without an entity are UNDELIVERABLE",
            "150 messages ended UNDELIVERABLE in the last 15 minutes. Usual for this entity: 0%.",
        ),
    ],
    "ApiRefusing": [
        Told(
            "critical",
            {**feed("refused"), "code": "401"},
            NOW - 55,
            f"infobip-exporter?{choices('refused')}",
            "refused sms: Infobip refuses to give the log (401)",
            "The API key is not accepted. 6 requests were refused in the last 30 minutes and none has succeeded since. No message is lost if the exporter is let in again within 48 hours.",
        ),
    ],
    "ApiThrottled": [
        Told(
            "warning",
            feed("throttled"),
            NOW - 52,
            f"infobip-exporter?{choices('throttled')}",
            "throttled sms: Infobip throttles the reading of the log",
            "10% of the requests of the last 15 minutes were answered 429. The exporter waits and goes on; if it falls behind, ExporterBehind follows.",
        ),
    ],
    "AuditMissed": [
        Told(
            "warning",
            feed("missed"),
            NOW - 30,
            f"infobip-exporter?{choices('missed')}",
            "missed sms: 3 messages were missed in the counts",
            "The audit read final time again and found 3 messages that no count has. The totals are too low by them.",
        ),
    ],
    "ClockSkew": [
        Told(
            "warning",
            feed("skewed"),
            NOW - 1560,
            f"infobip-exporter?{choices('skewed')}",
            "skewed sms: this machine's clock and Infobip's differ by 45s",
            "The difference has been more than 30 seconds for 15 minutes. Counts are right; ages and lag on the dashboards are off by it.",
        ),
    ],
    "ConfigReloadFailed": [
        Told(
            "warning",
            TARGET,
            NOW - 60,
            "infobip-exporter",
            "exporter:10470: the configuration could not be reloaded",
            "The exporter goes on with the configuration it had. Its log names the mistake.",
        ),
    ],
    "CountsLate": [
        Told(
            "warning",
            feed("fresh"),
            NOW - 56,
            f"infobip-exporter?{choices('fresh')}",
            "fresh sms: messages are counted 9m 30s after they were sent",
            "One in ten of the messages counted in the last 30 minutes had been sent more than 9m 30s before. Alerts on messages come that much later.",
        ),
    ],
    "ExporterBehind": [
        Told(
            "warning",
            feed("behind"),
            NOW - 60,
            f"infobip-exporter?{choices('behind')}",
            "behind sms: the exporter is late",
            "2h 0m 0s of the log are not read. What is not read within 48 hours after it was sent is lost.",
        ),
    ],
    "ExporterBlind": [
        Told(
            "critical",
            feed("behind"),
            NOW - 60,
            f"infobip-exporter?{choices('behind')}",
            "behind sms: the exporter can't see what happens to messages now",
            "2h 0m 0s of the log are not read. Delivery alerts of this feed are silent. What is not read within 48 hours after it was sent is lost.",
        ),
        Told(
            "critical",
            feed("refused"),
            NOW - 60,
            f"infobip-exporter?{choices('refused')}",
            "refused sms: the exporter can't see what happens to messages now",
            "30s of the log are not read. Delivery alerts of this feed are silent. What is not read within 48 hours after it was sent is lost.",
        ),
    ],
    "ExporterDown": [
        Told(
            "critical",
            {"instance": "dead:10470", "job": "other"},
            NOW - 60,
            "infobip-exporter",
            "The Infobip exporter dead:10470 can't be scraped",
            "Prometheus has had no metrics from it for 5 minutes. No message is lost if the exporter is back within 48 hours.",
        ),
    ],
    "ExporterLosingData": [
        Told(
            "critical",
            {**feed("loses"), "reason": "expired"},
            NOW - 30,
            f"infobip-exporter?{choices('loses')}",
            "loses sms: 11m 0s of the log could not be counted (expired)",
            "In the last hour, 11m 0s of sent time were given up: they left the 48 h log before they were read. The totals are too low by the messages sent then.",
        ),
    ],
    "FeedGone": [
        Told(
            "critical",
            feed("gone"),
            NOW - 60,
            f"infobip-exporter?{choices('gone')}",
            "gone sms: the exporter no longer shows this feed",
            "The exporter is scraped, but gone sms is not among its feeds any more. It may have been removed from the configuration.",
        ),
    ],
    "LabelOverflow": [
        Told(
            "warning",
            {**feed("many"), "label": "entity_id"},
            NOW - 30,
            f"infobip-exporter?{choices('many')}",
            "many sms: more values of entity_id than metrics.max_label_values or metrics.max_series allow",
            "4 more values of entity_id in the last hour are counted under __other__. Totals are right, but these values can't be told apart.",
        ),
    ],
    "LogLinesDropped": [
        Told(
            "warning",
            TARGET,
            NOW - 30,
            "infobip-exporter",
            "exporter:10470: 7 log lines could not be written",
            "The exporter's log output was blocked or full in the last hour. Counting went on.",
        ),
    ],
    "RecordsRejected": [
        Told(
            "critical",
            feed("broken"),
            NOW - 59,
            f"infobip-exporter?{choices('broken')}",
            "broken sms: 25% of the rows of the log can't be counted",
            "Mostly: no_status. The messages are in no count. Infobip may have changed the form of its log.",
        ),
        Told(
            "warning",
            feed("broken"),
            NOW - 59,
            f"infobip-exporter?{choices('broken')}",
            "broken sms: 600 rows of the log can't be counted",
            "Mostly: no_status. The messages are in no count. Infobip may have changed the form of its log.",
        ),
    ],
    "Watchdog": [
        Told(
            "none",
            {},
            NOW - 1560,
            "infobip-exporter",
            "Alerting works",
            "This alert always fires. If it no longer arrives, Prometheus or Alertmanager is down, or the way from there to you is broken.",
        ),
    ],
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
@pytest.mark.parametrize("component", ["delivery", "exporter", "delivery by campaign"])
def test_every_alert_tells_its_figures_and_links_its_dashboard_and_runbook(
    component: str, tmp_path: Path
) -> None:
    by_campaign = component == "delivery by campaign"
    component = component.removesuffix(" by campaign")
    world = messages_world(by_campaign=by_campaign) if component == "delivery" else exporter_world()
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
