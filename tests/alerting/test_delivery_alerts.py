"""When each other alert on messages fires and when not, beside the incidents of test_incidents.py.

Minutes count from the first scrape; every world is checked by promtool.
"""

import pytest

from tests.alerting.servers import needs
from tests.alerting.world import DELIVERY_ALERTS, EXPORTER, FEED, Gap, Hold, Jump, Part, Rate, World

pytestmark = needs("promtool")

CRITICAL = {**EXPORTER, **FEED, "severity": "critical", "component": "delivery"}
WARNING = {**EXPORTER, **FEED, "severity": "warning", "component": "delivery"}
HISTORY = 6 * 60
DAY = 24 * 60


# The delivery objective: 95 %


def burn(window: str) -> dict[str, str]:
    return {**WARNING, "window": window}


def test_a_budget_burnt_in_five_days_makes_a_ticket_within_six_hours(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(840, 30))
    world.messages("DELIVERED", Rate(360, 20), Rate(480, 12))
    world.messages("EXPIRED", Rate(360, 0), Rate(480, 8))  # 40 %, over 30 %
    world.firing(400, "ErrorBudgetBurn")
    world.firing(600, "ErrorBudgetBurn", burn("1d"))
    world.firing(700, "ErrorBudgetBurn", burn("6h"), burn("1d"))


def test_a_budget_that_will_not_last_the_month_makes_a_ticket(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(2 * HISTORY, 30))
    world.messages("DELIVERED", Rate(2 * HISTORY, 18))
    world.messages("EXPIRED", Rate(60, 0), Rate(2 * HISTORY - 60, 2))  # 10 %, over 5 %
    world.firing(120, "ErrorBudgetBurn")
    world.firing(2 * HISTORY - 1, "ErrorBudgetBurn", burn("1d"))


@pytest.mark.parametrize(
    ("delivered", "expired", "alerts"), [(20, 0.8, DELIVERY_ALERTS), (0.01, 0.1, "ErrorBudgetBurn")]
)
def test_failures_within_the_objective_or_of_little_traffic_burn_nothing(
    delivered: float, expired: float, alerts: str, world: World
) -> None:
    world.every_s = 60
    world.watched(Hold(HISTORY, 30))
    world.messages("DELIVERED", Rate(HISTORY, delivered))
    world.messages("EXPIRED", Rate(HISTORY, expired))
    world.never(HISTORY, alerts)


# Others than spikes


def test_one_entity_whose_alert_fires_is_not_the_account(world: World) -> None:
    world.watched(Hold(120, 30))
    world.messages("DELIVERED", Rate(60, 20), Rate(60, 0))
    world.messages("REJECTED", Rate(60, 0), Rate(60, 20))
    world.firing(119, "RejectedSpike", {**CRITICAL, "general_status": "REJECTED", "entity_id": "shop"})
    world.never(119, "AccountFailing")


def test_messages_that_always_settle_late_are_not_missed(world: World) -> None:
    worlds: dict[str, list[Part]] = {
        "settles after hours": [Rate(120, 0), Rate(120, 10)],
        "sends a campaign": [Rate(240, 10)],
    }
    for account, settled in worlds.items():
        labels = {"account": account, "channel": "email"}
        world.watched(Hold(240, 30), labels=labels)
        world.add(
            "infobip_messages_sent_total", Rate(200, 10), Rate(40, 1000), labels=labels, entity_id="shop"
        )
        world.messages("DELIVERED", *settled, labels=labels)
        name = "infobip_delivery_duration_seconds"
        of = {**labels, "general_status": "DELIVERED"}
        world.add(f"{name}_bucket", Rate(240, 1), labels=of, le="300")
        world.add(f"{name}_count", Rate(240, 10), labels=of)
    world.never(239, "NothingSettles")


def test_a_status_group_that_is_not_documented_makes_a_ticket(world: World) -> None:
    world.watched(Hold(90, 30))
    world.messages("DELIVERED", Rate(90, 100))
    world.messages("BLOCKED", Rate(30, 0), Rate(60, 0.2))
    world.firing(29, "StatusUnknown")
    world.firing(40, "StatusUnknown", {**WARNING, "general_status": "BLOCKED"})
    world.never(89, "FailureSpike")


# Slow, stuck, dear, silent


def durations(
    world: World, minutes: float, slow_from: float, per_minute: float = 10, status: str = "DELIVERED"
) -> None:
    """Every message takes 7 s, and from `slow_from` on 400 s."""
    name = "infobip_delivery_duration_seconds"
    fast, slow = Rate(slow_from, per_minute), Rate(minutes - slow_from, per_minute)
    for bound in ("5", "300"):
        parts: list[Part] = [Rate(minutes, 0)] if bound == "5" else [fast, Rate(slow.minutes, 0)]
        world.add(f"{name}_bucket", *parts, general_status=status, le=bound)
    for bound in ("600", "+Inf"):
        world.add(f"{name}_bucket", fast, slow, general_status=status, le=bound)
    world.add(f"{name}_count", fast, slow, general_status=status)


def test_slow_deliveries_alert_after_ten_minutes(world: World) -> None:
    world.watched(Hold(120, 30))
    durations(world, 120, slow_from=60)
    world.firing(62, "DeliverySlow")  # one in twenty is slow from minute 61.5 on
    world.firing(71, "DeliverySlow")
    world.firing(73, "DeliverySlow", WARNING)


@pytest.mark.parametrize(
    ("lag", "per_minute", "status"),
    [
        ([Hold(180, 30)], 10, "EXPIRED"),
        ([Hold(180, 30)], 1, "DELIVERED"),
        ([Hold(60, 30), Hold(90, 7200), Hold(30, 30)], 10, "DELIVERED"),
    ],
    ids=["failures", "few", "of the past"],
)
def test_what_is_no_slow_delivery_of_now(
    lag: list[Part], per_minute: float, status: str, world: World
) -> None:
    world.watched(*lag)
    durations(world, 180, slow_from=60, per_minute=per_minute, status=status)
    world.never(180, "DeliverySlow")


def in_flight(world: World, *parts: Part, oldest: Part) -> None:
    world.add("infobip_messages_in_flight", *parts, general_status="PENDING", entity_id="shop")
    world.add("infobip_oldest_in_flight_timestamp_seconds", oldest)
    minutes = sum(getattr(part, "minutes", 0.0) for part in parts)
    world.add("infobip_messages_sent_total", Rate(minutes, 10), entity_id="shop")


def test_messages_without_an_outcome_alert_after_ten_minutes(world: World) -> None:
    world.watched(Hold(240, 30))
    in_flight(world, Hold(120, 10), Hold(120, 400), oldest=Hold(240, 3600.0))
    world.firing(130, "MessagesStuckInFlight")  # the oldest is an hour old from minute 120 on
    world.firing(130.5, "MessagesStuckInFlight", WARNING)


@pytest.mark.parametrize(
    ("count", "oldest"),
    [
        ([Hold(120, 10), Hold(150, 400)], 210 * 60),
        ([Hold(270, 400)], 0),
        ([Hold(120, 10), Hold(150, 90)], 0),
        ([Hold(120, 10), Hold(150, 290)], 0),
    ],
    ids=["for less than an hour", "as many as usual", "few", "few for the traffic"],
)
def test_messages_that_are_not_stuck(count: list[Part], oldest: float, world: World) -> None:
    world.watched(Hold(270, 30))
    in_flight(world, *count, oldest=Hold(270, oldest))
    world.never(269, "MessagesStuckInFlight", since=200)


def test_messages_that_only_wait_to_be_read_again_are_not_stuck(world: World) -> None:
    world.watched(Hold(90, 30), Hold(60, 7200), Hold(120, 30))
    in_flight(world, Hold(90, 10), Hold(120, 400), Hold(60, 10), oldest=Hold(270, 0))
    world.never(270, "MessagesStuckInFlight")


def test_only_a_cost_beyond_the_dearest_hours_of_the_week_alerts(world: World) -> None:
    day = [Rate(8 * 60, 1), Rate(12 * 60, 50), Rate(4 * 60, 5)]
    worlds: dict[str, list[Part]] = {
        "ten times dearer": [Rate(600, 10), Rate(120, 30), Rate(DAY - 600, 10), Rate(DAY - 120, 100)],
        "follows the day": [*day, *day],
        "a few messages": [Rate(DAY + 120, 0.1), Rate(DAY - 120, 1)],
        "a campaign each day": [
            Rate(600, 0),
            Rate(10, 50),
            Rate(DAY - 10, 0),
            Rate(10, 50),
            Rate(DAY - 620, 0),
        ],
        "without a day to compare with": [Gap(DAY), Rate(300, 10), Rate(DAY - 300, 100)],
        "caught up": [Rate(DAY + 120, 10), Rate(120, 0), Jump(30000), Rate(DAY - 240, 10)],
    }
    world.every_s = 60
    for account, parts in worlds.items():
        labels = {"account": account, "channel": "sms"}
        blind = Hold(120, 7200 if account == "caught up" else 30)
        world.watched(Hold(DAY + 120, 30), blind, Hold(DAY - 240, 30), labels=labels)
        world.add("infobip_cost_total", *parts, labels=labels, currency="EUR", general_status="DELIVERED")
        world.messages("DELIVERED", *parts, labels=labels)
    alert = {**WARNING, "account": "ten times dearer", "channel": "sms", "currency": "EUR"}
    world.firing(DAY + 120, "CostSpike")
    world.firing(DAY + 180, "CostSpike", alert)
    others = 'ALERTS{alertname="CostSpike",account!="ten times dearer",alertstate="firing"}'
    for hour in range(34):
        world.value(hour * 60 + 30, others)


def test_only_traffic_that_is_missed_at_this_time_of_the_day_pages(world: World) -> None:
    day = [Rate(8 * 60, 0), Rate(12 * 60, 10), Rate(4 * 60, 0)]
    steady = Rate(DAY + 120, 10)
    clear = Hold(2 * DAY, 30)
    worlds: dict[str, tuple[list[Part], list[Part]]] = {
        "stops": ([clear], [steady, Rate(DAY - 120, 0)]),
        "leaves a trickle": ([clear], [steady, Rate(DAY - 120, 0.1)]),
        "sent little": ([clear], [Rate(DAY + 120, 0.3), Rate(DAY - 120, 0)]),
        "sleeps at night": ([clear], [*day, *day]),
        "had a campaign": ([clear], [Rate(120, 0), Rate(60, 1000), Rate(2 * DAY - 180, 0)]),
        "cannot be seen": ([Hold(DAY + 120, 30), Hold(DAY - 120, 7200)], [steady, Rate(DAY - 120, 0)]),
        "caught up yesterday": (
            [Hold(60, 30), Gap(120), Hold(2 * DAY - 180, 30)],
            [Rate(60, 0), Gap(120), Jump(5000), Rate(2 * DAY - 180, 0)],
        ),
        "began today": ([clear], [Gap(DAY), Rate(600, 10), Rate(DAY - 600, 0)]),
    }
    world.every_s = 60
    for account, (lag, parts) in worlds.items():
        labels = {"account": account, "channel": "sms"}
        world.watched(*lag, labels=labels)
        world.add("infobip_messages_sent_total", *parts, labels=labels, entity_id="shop")
    world.firing(DAY + 150, "TrafficStopped")
    stopped, trickle = (
        {**CRITICAL, "account": each, "channel": "sms"} for each in ("stops", "leaves a trickle")
    )
    world.firing(DAY + 156, "TrafficStopped", stopped, trickle)
    for hour in range(0, 34, 2):
        world.value(
            hour * 60,
            'ALERTS{alertname="TrafficStopped",account!~"stops|leaves a trickle",alertstate="firing"}',
        )


def test_an_entity_that_sends_a_tenth_of_the_usual_makes_a_ticket(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(DAY + 240, 30))
    for entity, after in (("shop", 10), ("bank", 1)):
        world.add("infobip_messages_sent_total", Rate(DAY + 120, 10), Rate(120, after), entity_id=entity)
    world.firing(DAY + 120, "TrafficLow")
    world.firing(DAY + 170, "TrafficLow", {**WARNING, "entity_id": "bank"})
    world.never(DAY + 239, "TrafficStopped")
