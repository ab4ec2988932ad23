"""Campaigns: what each costs and how it is delivered. For those who have `campaign` in metrics.labels."""

from grafana.panels import BLUE, GREEN, RED, YELLOW, Json, Query, Row, by_status, lines, stat, table
from grafana.parts import (
    FAILED,
    FEED,
    counted,
    dashboard,
    grown,
    ratio_of_15_minutes,
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
        stat(
            "Delivery rate", "Delivered, of the messages that reached a final status.", "percentunit",
            share(total(grown("infobip_messages_total", f"{_MESSAGES},{_DELIVERED}")), _SETTLED), decimals=2,
            steps=((None, RED), (0.9, YELLOW), (0.95, GREEN)),
        ),
        stat(
            "Failed", "Messages that ended as anything but DELIVERED.", "short",
            zero_where(_SETTLED, total(grown("infobip_messages_total", f"{_MESSAGES},{FAILED}"))), decimals=0,
        ),
        stat(
            "In flight", "Messages without a final status, at the end of the time chosen.", "short",
            zero_where(
                total(f"infobip_messages_sent_total{{{_MESSAGES}}}"), total(f"infobip_messages_in_flight{{{_MESSAGES}}}")
            ),
            decimals=0,
        ),
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
            (
                Query(_SENT_EACH, instant=True, format="table"),
                Query(share(_DELIVERED_EACH, _SETTLED_EACH), instant=True, format="table"),
            ),
            _COLUMNS | {"Value #B": ("Delivery rate", "percentunit"), "Value #A": ("Sent", "short")},
            width=12,
        ),
        table(
            "Cost by campaign",
            "The fifty dearest in the time chosen. What a delivered message costs includes those that failed.",
            (
                Query(_COST_EACH, instant=True, format="table"),
                Query(
                    f"{_COST_EACH} / on ({_BY}) group_left () ({_DELIVERED_EACH} > 0)", instant=True, format="table"
                ),
            ),
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
        lines(
            "Failure ratio by campaign",
            "Failed, of all that settled in the last 15 minutes: the ten worst. No line below twenty messages.",
            "percentunit", Query(f"topk(10, {ratio_of_15_minutes('campaign', _MESSAGES)})", "{{campaign}}"),
            steps=((None, GREEN), (0.05, RED)),
        ),
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
