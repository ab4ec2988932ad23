"""Delivery overview, for whoever is paged: is it the exporter or the messages, since when, who, why, how many."""

from grafana.panels import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    Json,
    Query,
    Row,
    by_status,
    heatmap,
    lines,
    on_the_right,
    stat,
    table,
)
from grafana.parts import (
    FAILED,
    FEED,
    MESSAGES,
    counted,
    current,
    dashboard,
    delivery_rate,
    exporter_up,
    failure_ratio,
    grown,
    in_flight,
    lost,
    quantile,
    rate,
    ratio_of_15_minutes,
    to_deliveries,
    total,
    what_fires,
    zero_where,
)

_SETTLED = total(grown("infobip_messages_total", MESSAGES))
_BUCKETS = "infobip_delivery_duration_seconds_bucket"
_DELIVERED = f'{MESSAGES},general_status="DELIVERED"'


def _ended(status: str) -> str:
    return total(grown("infobip_messages_total", f'{MESSAGES},general_status="{status}"'))


_ENTITY = "account, channel, entity_id"
_ALL_OF_ENTITY = total(grown("infobip_messages_total", MESSAGES), _ENTITY)
_MOST_FAILED = f"topk(20, {total(grown('infobip_messages_total', f'{MESSAGES},{FAILED}'), _ENTITY)} > 0)"


_REASONS = "general_status, status, error, permanent"
_OF_ENTITY = f'{FEED},entity_id=~"$entity"'
_MOST_COMMON = f"topk(20, {total(grown('infobip_message_failures_total', _OF_ENTITY), _REASONS)} > 0)"


_ALERTED = Row(
    "Is it the exporter or the messages?",
    4,
    (
        exporter_up(),
        current(),
        stat(
            "Behind", "How far the exporter is from having read everything: until then the numbers here are too low.",
            "s", f"max(infobip_exporter_lag_seconds{{{FEED}}})", steps=((None, GREEN), (600, YELLOW), (86400, RED)),
            decimals=0,
        ),
        lost("Sent time that was given up unread in the time chosen; its messages are in no number here."),
        stat(
            "Failing now", "Of the messages that settled in the last 15 minutes. No data below twenty messages.",
            "percentunit", ratio_of_15_minutes(), decimals=1, steps=((None, GREEN), (0.05, YELLOW), (0.2, RED)),
        ),
        stat(
            "Last message sent", "Age of the newest message seen.", "s",
            f"time() - max(infobip_last_message_sent_timestamp_seconds{{{FEED}}})", steps=((None, BLUE),), decimals=0,
        ),
    ),
)  # fmt: skip

_FIGURES = Row(
    "In the time chosen",
    4,
    (
        stat(
            "Sent", "Messages seen in the log, each once.", "short",
            total(grown("infobip_messages_sent_total", MESSAGES)), decimals=0,
        ),
        delivery_rate(MESSAGES, " Those in flight are not in it."),
        stat(
            "Rejected", "Messages that Infobip or the network refused.", "short",
            zero_where(_SETTLED, _ended("REJECTED")), decimals=0,
        ),
        stat(
            "Undeliverable", "Messages that were sent on and did not arrive.", "short",
            zero_where(_SETTLED, _ended("UNDELIVERABLE")), decimals=0,
        ),
        in_flight(MESSAGES),
        stat(
            "Cost today (UTC)", "By price list, of the messages that settled since midnight UTC. It is not the invoice.", "short",
            total(grown("infobip_cost_total", MESSAGES), "currency"), legend="{{currency}}", decimals=2,
            time_from="now/d", text="value_and_name",
        ),
    ),
)  # fmt: skip

_SINCE = Row(
    "Since when, and how many",
    9,
    (
        lines(
            "Messages a minute by status", "Counted when they reach a final status.", "suffix:/min",
            Query(f"60 * {total(rate('infobip_messages_total', MESSAGES), 'general_status')}", "{{general_status}}"),
            stacked=True, overrides=by_status(),
        ),
        lines(
            "Failed messages", "How many ended in each status but DELIVERED.", "short",
            Query(counted("infobip_messages_total", f"{MESSAGES},{FAILED}", "general_status"), "{{general_status}}"),
            bars=True, stacked=True, overrides=by_status(),
        ),
        lines(
            "Sent and settled a minute", "Settled below sent means that messages pile up in flight.", "suffix:/min",
            Query(f"60 * {total(rate('infobip_messages_sent_total', MESSAGES))}", "sent"),
            Query(f"60 * {total(rate('infobip_messages_total', MESSAGES))}", "settled"),
        ),
        lines(
            "In flight over time", "Messages without a final status yet, by the status they have.", "short",
            Query(total(f"infobip_messages_in_flight{{{MESSAGES}}}", "general_status"), "{{general_status}}"),
            stacked=True, overrides=by_status(),
        ),
    ),
)  # fmt: skip

_WHO = Row(
    "Which entity",
    9,
    (
        failure_ratio("entity", "entity_id"),
        failure_ratio("application", "application_id"),
        table(
            "Top failing entities",
            "The entities with the most failed messages in the time chosen. An entity is a link to its own numbers.",
            [_MOST_FAILED, f"{_MOST_FAILED} / {_ALL_OF_ENTITY}"],
            {
                "account": ("Account", ""), "channel": ("Channel", ""), "entity_id": ("Entity", ""),
                "Value #B": ("Failure ratio", "percentunit"), "Value #A": ("Failed", "short"),
            },
            link=("Entity", "Only this entity", to_deliveries("${application:queryparam}")),
        ),
    ),
)  # fmt: skip

_WHY = Row(
    "Why",
    9,
    (
        table(
            "Why",
            "The most common statuses and errors of failed messages in the time chosen, by Infobip's names. Permanent: sending "
            "unchanged fails again. Heeds the entity, not the application.",
            [_MOST_COMMON],
            {
                "general_status": ("Group", ""), "status": ("Status", ""), "error": ("Error", ""),
                "permanent": ("Permanent", ""), "Value": ("Failed", "short"),
            },
            width=12,
        ),
        lines(
            "Error groups of failed messages", "How many failed with which kind of error.", "short",
            Query(
                counted("infobip_messages_total", f"{MESSAGES},{FAILED}", "general_status, error_group"),
                "{{general_status}} {{error_group}}",
            ),
            bars=True, stacked=True,
        ),
        lines(
            "Never resolved", "Messages that left the 48 h log without a final status: nobody knows what became of them.",
            "short",
            Query(counted("infobip_messages_unresolved_total", MESSAGES, "general_status"), "{{general_status}}"),
            bars=True, stacked=True, width=24,
        ),
    ),
)  # fmt: skip

_HEEDS = "An entity or application can be chosen if metrics.duration_labels has it."

_DURATION = Row(
    "Time to deliver",
    9,
    (
        heatmap(
            "Delivered messages by duration", f"From sentAt to doneAt of delivered messages, by Infobip's clock. {_HEEDS}",
            total(f"increase({_BUCKETS}{{{_DELIVERED}}}[$__rate_interval])", "le"),
        ),
        lines(
            "Percentiles", f"From sentAt to doneAt of delivered messages, and how many they are. {_HEEDS}", "s",
            *(quantile(each, _BUCKETS, _DELIVERED) for each in (0.5, 0.95, 0.99)),
            Query(f"60 * {total(rate('infobip_delivery_duration_seconds_count', _DELIVERED))}", "messages"),
            steps=((None, GREEN), (300, RED)), overrides=(on_the_right("messages", "suffix:/min"),),
        ),
    ),
)  # fmt: skip


def delivery() -> Json:
    return dashboard(
        "infobip-delivery",
        "Infobip / Delivery overview",
        "What becomes of the messages: traffic, failures, time to deliver.",
        ("account", "channel", "entity_id", "application_id"),
        (_ALERTED, what_fires(), _FIGURES, _SINCE, _WHO, _WHY, _DURATION),
        "now-6h",
    )
