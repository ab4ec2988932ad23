"""Cost: what the messages cost by price list, and whose they are. Nothing is stacked: currencies don't add up."""

from grafana.panels import GREEN, RED, YELLOW, Json, Query, Row, lines, stat, table
from grafana.parts import (
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

_COST = f'{MESSAGES},currency=~"$currency"'
_BY = "currency"
_SPENT = total(grown("infobip_cost_total", _COST), _BY)
_LAST_WEEK = total(grown("infobip_cost_total", _COST, offset="1w"), _BY)
_WASTED = total(grown("infobip_cost_total", f"{_COST},{FAILED}"), _BY)
_MONTH = f"{_SPENT} / $__range_s * 86400 * scalar(days_in_month())"


_RECORDED = f'feed_currency:infobip_cost:increase1h{{{FEED},currency=~"$currency"}}'


def _hourly(label: str) -> Query:
    spent = total(f"increase(infobip_cost_total{{{_COST}}}[1h])", f"currency, {label}")
    return Query(f"topk(10, {spent})", f"{{{{currency}}}} {{{{{label}}}}}")


def _of_each_currency(title: str, description: str, *queries: Query) -> Json:
    """A panel for each currency: they don't share an axis."""
    return lines(f"{title}, $currency", description, "short", *queries, width=24, repeat="currency")


_FIGURES = Row(
    "In the time chosen, by price list (not the invoice)",
    4,
    (
        stat("Cost", "Of the messages that settled.", "short", _SPENT, legend="{{currency}}", decimals=2, text="value_and_name"),
        stat(
            "Not delivered", "Cost of messages that failed.", "short",
            zero_where(_SPENT, _WASTED), legend="{{currency}}", decimals=2, text="value_and_name", steps=((None, YELLOW),),
        ),
        stat(
            "Share not delivered", "Of the cost, what was for messages that were not delivered.", "percentunit",
            share(_WASTED, _SPENT), legend="{{currency}}", decimals=1, text="value_and_name",
            steps=((None, GREEN), (0.05, YELLOW), (0.2, RED)),
        ),
        stat(
            "Against last week", "The same stretch of time a week before is 0 %. No data without a week of it.", "percentunit",
            f"{_SPENT} / ({_LAST_WEEK} > 0) - 1", legend="{{currency}}", decimals=0, text="value_and_name",
            steps=((None, GREEN), (0.2, YELLOW), (1, RED)),
        ),
        stat(
            "This month (UTC)", "Since the first of the month, UTC.", "short", _SPENT, legend="{{currency}}", decimals=2,
            time_from="now/M", text="value_and_name",
        ),
        stat(
            "Forecast for the month (UTC)",
            "If the rest of the month costs as much a day as it did so far. Too low when Prometheus has not seen the month from its first day.",
            "short", _MONTH, legend="{{currency}}", decimals=0, time_from="now/M", text="value_and_name",
        ),
    ),
)  # fmt: skip

_COURSE = Row(
    "An hour's cost",
    9,
    (
        _of_each_currency(
            "Cost of the hour before",
            "What the messages that settled in the hour before cost, as recorded for CostSpike: of whole feeds, without what was caught up.",
            Query(total(_RECORDED, _BY), "now"),
            Query(total(f"{_RECORDED} offset 1w", _BY), "a week before"),
        ),
        _of_each_currency(
            "By entity", "What the messages of each entity cost in the hour before: the ten dearest.", _hourly("entity_id"),
        ),
        _of_each_currency(
            "By application", "What the messages of each application cost in the hour before: the ten dearest.",
            _hourly("application_id"),
        ),
        _of_each_currency(
            "By status", "What was for messages that were not delivered has a price too.", _hourly("general_status"),
        ),
        lines(
            "Parts a message", "Long texts are sent, and paid, in several parts.", "short",
            Query(
                share(
                    total(rate("infobip_message_parts_total", MESSAGES), "channel"),
                    total(rate("infobip_messages_total", MESSAGES), "channel"),
                ),
                "{{channel}}",
            ),
        ),
    ),
)  # fmt: skip

_WHO = "account, channel, entity_id, application_id, currency"
_MOST = f"topk(50, {total(grown('infobip_cost_total', _COST), _WHO)} > 0)"
_MOST_WASTED = total(grown("infobip_cost_total", f"{_COST},{FAILED}"), _WHO)

_SPENDERS = Row(
    "Who spends",
    10,
    (
        table(
            "Cost by entity and application", "The fifty dearest in the time chosen. An entity is a link to its deliveries.",
            [_MOST, f"{zero_where(_MOST, _MOST_WASTED)} / {_MOST}"],
            {
                "account": ("Account", ""), "channel": ("Channel", ""), "entity_id": ("Entity", ""),
                "application_id": ("Application", ""), "currency": ("Currency", ""),
                "Value #B": ("Share not delivered", "percentunit"), "Value #A": ("Cost", "short"),
            },
            link=(
                "Entity", "Deliveries of this entity",
                to_deliveries("var-application=${__data.fields.Application:percentencode}"),
            ),
        ),
    ),
)  # fmt: skip


def cost() -> Json:
    return dashboard(
        "infobip-cost",
        "Infobip / Cost",
        "What the messages cost by price list: by currency, entity, application and status.",
        ("account", "channel", "entity_id", "application_id", "currency"),
        (_FIGURES, _COURSE, _SPENDERS),
        "now-24h",
    )
