"""Delivery overview: what becomes of the messages."""

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
    stat,
    table,
)
from grafana.parts import (
    ALIVE,
    FAILED,
    FEED,
    MESSAGES,
    dashboard,
    grown,
    rate,
    share,
    to_deliveries,
    total,
    zero_where,
)

_SETTLED = total(grown("infobip_messages_total", MESSAGES))
_BUCKETS = "infobip_delivery_duration_seconds_bucket"
_DELIVERED = f'{FEED},general_status="DELIVERED"'


def _ended(status: str) -> str:
    return total(grown("infobip_messages_total", f'{MESSAGES},general_status="{status}"'))


def _quantile(quantile: float) -> Query:
    expr = f"histogram_quantile({quantile}, {total(rate(_BUCKETS, _DELIVERED), 'le')})"
    return Query(expr, f"p{quantile * 100:.0f}")


_ENTITY = "account, channel, entity_id"
_ALL_OF_ENTITY = total(grown("infobip_messages_total", MESSAGES), _ENTITY)
_MOST_FAILED = f"topk(20, {total(grown('infobip_messages_total', f'{MESSAGES},{FAILED}'), _ENTITY)} > 0)"


def _failure_share(label: str) -> Query:
    failed = total(rate("infobip_messages_total", f"{MESSAGES},{FAILED}"), label)
    return Query(share(failed, total(rate("infobip_messages_total", MESSAGES), label)), f"{{{{{label}}}}}")


_FIGURES = Row(
    "In the time chosen",
    4,
    (
        stat(
            "Sent", "Messages seen in the log, each once.", "short",
            total(grown("infobip_messages_sent_total", MESSAGES)), decimals=0,
        ),
        stat(
            "Delivery rate", "Delivered, of the messages that reached a final status. Those in flight are not in it.",
            "percentunit", share(_ended("DELIVERED"), _SETTLED), decimals=2,
            steps=((None, RED), (0.9, YELLOW), (0.95, GREEN)),
        ),
        stat(
            "Rejected", "Messages that Infobip or the network refused.", "short",
            zero_where(_SETTLED, _ended("REJECTED")), decimals=0, steps=((None, GREEN), (1, YELLOW), (100, RED)),
        ),
        stat(
            "Undeliverable", "Messages that were sent on and did not arrive.", "short",
            zero_where(_SETTLED, _ended("UNDELIVERABLE")), decimals=0, steps=((None, GREEN), (1, YELLOW), (100, RED)),
        ),
        stat(
            "In flight", "Messages without a final status, at the end of the time chosen.", "short",
            zero_where(
                total(f"infobip_messages_sent_total{{{MESSAGES}}}"), total(f"infobip_messages_in_flight{{{MESSAGES}}}")
            ),
            decimals=0,
        ),
        stat(
            "Cost today", "By price list, of the messages that settled since midnight. It is not the invoice.", "short",
            total(grown("infobip_cost_total", MESSAGES), "currency"), legend="{{currency}}", decimals=2,
            time_from="now/d", text="value_and_name",
        ),
    ),
)  # fmt: skip

_TRAFFIC = Row(
    "Traffic",
    9,
    (
        lines(
            "Messages a minute by status", "Counted when they reach a final status.", "suffix:/min",
            Query(f"60 * {total(rate('infobip_messages_total', MESSAGES), 'general_status')}", "{{general_status}}"),
            stacked=True, overrides=by_status(),
        ),
        lines(
            "Sent and settled a minute", "Settled below sent means that messages pile up in flight.", "suffix:/min",
            Query(f"60 * {total(rate('infobip_messages_sent_total', MESSAGES))}", "sent"),
            Query(f"60 * {total(rate('infobip_messages_total', MESSAGES))}", "settled"),
        ),
        lines(
            "In flight", "Messages without a final status yet, by the status they have.", "short",
            Query(total(f"infobip_messages_in_flight{{{MESSAGES}}}", "general_status"), "{{general_status}}"),
            stacked=True, overrides=by_status(),
        ),
        lines(
            "Never resolved", "Messages that left the 48 h log without a final status: nobody knows what became of them.",
            "short",
            Query(
                total(f"increase(infobip_messages_unresolved_total{{{MESSAGES}}}[$__rate_interval])", "general_status"),
                "{{general_status}}",
            ),
            bars=True, stacked=True,
        ),
    ),
)  # fmt: skip

_FAILURES = Row(
    "Failures",
    9,
    (
        lines(
            "Failure ratio by entity", "UNDELIVERABLE, EXPIRED or REJECTED, of all that settled. No line without messages.",
            "percentunit", _failure_share("entity_id"), steps=((None, GREEN), (0.05, RED)),
        ),
        lines(
            "Failure ratio by application", "UNDELIVERABLE, EXPIRED or REJECTED, of all that settled. No line without messages.",
            "percentunit", _failure_share("application_id"), steps=((None, GREEN), (0.05, RED)),
        ),
        lines(
            "Error groups of failed messages", "How many failed with which kind of error. Rare events: counted, not per second.",
            "short",
            Query(
                total(f"increase(infobip_messages_total{{{MESSAGES},{FAILED}}}[$__rate_interval])", "general_status, error_group"),
                "{{general_status}} {{error_group}}",
            ),
            bars=True, stacked=True, width=24,
        ),
        table(
            "Top failing entities",
            "The entities with the most failed messages in the time chosen. An entity is a link to its own numbers.",
            (
                Query(_MOST_FAILED, instant=True, format="table"),
                Query(f"{_MOST_FAILED} / {_ALL_OF_ENTITY}", instant=True, format="table"),
            ),
            {
                "account": ("Account", ""), "channel": ("Channel", ""), "entity_id": ("Entity", ""),
                "Value #B": ("Failure ratio", "percentunit"), "Value #A": ("Failed", "short"),
            },
            link=(
                "Entity", "Only this entity",
                to_deliveries("${application:queryparam}"),
            ),
        ),
    ),
)  # fmt: skip

_DURATION = Row(
    "Time to deliver (all entities and applications)",
    9,
    (
        heatmap(
            "Delivered messages by duration", "From sentAt to doneAt of delivered messages, by Infobip's clock.",
            total(f"increase({_BUCKETS}{{{_DELIVERED}}}[$__rate_interval])", "le"),
        ),
        lines(
            "Percentiles", "From sentAt to doneAt of delivered messages. Failed ones are not in it.", "s",
            _quantile(0.5), _quantile(0.95), _quantile(0.99), steps=((None, GREEN), (300, RED)),
        ),
    ),
)  # fmt: skip

_TRUST = Row(
    "Can it be trusted?",
    4,
    (
        stat(
            "Behind", "How far the exporter is from having read everything. Above 10 minutes the numbers here are too low.",
            "s", f"max(infobip_exporter_lag_seconds{{{FEED}}})", steps=((None, GREEN), (600, YELLOW), (86400, RED)),
            width=8, decimals=0,
        ),
        stat(
            "Lost", "Sent time that was given up unread in the time chosen; its messages are in no number here.",
            "s", zero_where(ALIVE, total(grown("infobip_exporter_lost_seconds_total", FEED))), steps=((None, GREEN), (0.001, RED)), width=8,
        ),
        stat(
            "Last message sent", "Age of the newest message seen.", "s",
            f"time() - max(infobip_last_message_sent_timestamp_seconds{{{FEED}}})", steps=((None, BLUE),), width=8,
            decimals=0,
        ),
    ),
)  # fmt: skip


def delivery() -> Json:
    return dashboard(
        "infobip-delivery",
        "Infobip / Delivery overview",
        "What becomes of the messages: traffic, failures, time to deliver.",
        ("account", "channel", "entity_id", "application_id"),
        (_FIGURES, _TRAFFIC, _FAILURES, _DURATION, _TRUST),
        "now-6h",
    )
