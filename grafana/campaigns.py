"""Campaigns: what each costs and how it is delivered. For those who have `campaign` in metrics.labels."""

from grafana.panels import BLUE, Json, Query, Row, by_status, lines, stat, table
from grafana.parts import (
    FAILED,
    FEED,
    counted,
    dashboard,
    delivery_rate,
    failure_ratio,
    grown,
    in_flight,
    share,
    total,
    zero_where,
)

_MESSAGES = f'{FEED},campaign=~"$campaign"'
_COST = f'{_MESSAGES},currency=~"$currency"'
_DELIVERED = 'general_status="DELIVERED"'
_SENT = total(grown("infobip_messages_sent_total", _MESSAGES))
_SETTLED = total(grown("infobip_messages_total", _MESSAGES))
_WITHOUT = "No data without campaign in metrics.labels."

_FIGURES = Row(
    "In the time chosen",
    4,
    (
        stat("Sent", f"Messages of campaigns that were sent. {_WITHOUT}", "short", _SENT, decimals=0),
        delivery_rate(_MESSAGES),
        stat(
            "Failed", "Messages that ended as anything but DELIVERED.", "short",
            zero_where(_SETTLED, total(grown("infobip_messages_total", f"{_MESSAGES},{FAILED}"))), decimals=0,
        ),
        in_flight(_MESSAGES),
        stat(
            "Cost", "By price list, of the messages that settled. It is not the invoice.", "short",
            total(grown("infobip_cost_total", _COST), "currency"), legend="{{currency}}", decimals=2, width=8,
            text="value_and_name", steps=((None, BLUE),),
        ),
    ),
)  # fmt: skip

_BY = "account, channel, campaign"
_BY_CURRENCY = f"{_BY}, currency"
_SENT_EACH = f"topk(50, {total(grown('infobip_messages_sent_total', _MESSAGES), _BY)} > 0)"
_SETTLED_EACH = total(grown("infobip_messages_total", _MESSAGES), _BY)
_DELIVERED_EACH = total(grown("infobip_messages_total", f"{_MESSAGES},{_DELIVERED}"), _BY)
_COST_EACH = f"topk(50, {total(grown('infobip_cost_total', _COST), _BY_CURRENCY)} > 0)"
_COLUMNS = {"account": ("Account", ""), "channel": ("Channel", ""), "campaign": ("Campaign", "")}

_EACH = Row(
    "Each campaign",
    10,
    (
        table(
            "Delivery by campaign", "The fifty largest in the time chosen.",
            [_SENT_EACH, share(_DELIVERED_EACH, _SETTLED_EACH)],
            _COLUMNS | {"Value #B": ("Delivery rate", "percentunit"), "Value #A": ("Sent", "short")},
            width=12,
        ),
        table(
            "Cost by campaign",
            "The fifty dearest in the time chosen. What a delivered message costs includes those that failed.",
            [_COST_EACH, f"{_COST_EACH} / on ({_BY}) group_left () ({_DELIVERED_EACH} > 0)"],
            _COLUMNS
            | {
                "currency": ("Currency", ""), "Value #B": ("For each delivered", "short"), "Value #A": ("Cost", "short"),
            },
            width=12,
        ),
    ),
)  # fmt: skip

_COURSE = Row(
    "Over time",
    9,
    (
        lines(
            "Sent by campaign", "How many messages of each campaign were sent.", "short",
            Query(counted("infobip_messages_sent_total", _MESSAGES, "campaign"), "{{campaign}}"),
            bars=True, stacked=True,
        ),
        failure_ratio("campaign", "campaign", _MESSAGES),
        lines(
            "Outcomes", "How the messages of the chosen campaigns end.", "short",
            Query(counted("infobip_messages_total", _MESSAGES, "general_status"), "{{general_status}}"),
            bars=True, stacked=True, overrides=by_status(), width=24,
        ),
        lines(
            "Cost by campaign, $currency", "What the messages of each campaign cost in the hour before: the ten dearest.",
            "short",
            Query(f"topk(10, {total(f'increase(infobip_cost_total{{{_COST}}}[1h])', 'campaign')})", "{{campaign}}"),
            width=24, repeat="currency",
        ),
    ),
)  # fmt: skip


def campaigns() -> Json:
    return dashboard(
        "infobip-campaigns",
        "Infobip / Campaigns",
        "What each campaign costs and how it is delivered. It needs campaign in metrics.labels.",
        ("account", "channel", "campaign", "currency"),
        (_FIGURES, _EACH, _COURSE),
        "now-7d",
    )
