"""When each alert on messages fires and when not, beside the incidents of test_incidents.py.

Minutes count from the first scrape; every world is checked by promtool.
"""

import shutil

import pytest

from tests.alerting.world import (
    DELIVERY_ALERTS,
    EXPORTER,
    FEED,
    LEARNT,
    Gap,
    Hold,
    Jump,
    Part,
    Rate,
    Reset,
    World,
)

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")

CRITICAL = {**EXPORTER, **FEED, "severity": "critical", "component": "delivery"}
WARNING = {**EXPORTER, **FEED, "severity": "warning", "component": "delivery"}
SPIKES = pytest.mark.parametrize(
    ("status", "alert"), [("REJECTED", "RejectedSpike"), ("UNDELIVERABLE", "UndeliverableSpike")]
)
HISTORY = 6 * 60
DAY = 24 * 60


def spike(status: str, entity: str = "shop") -> dict[str, str]:
    return {**CRITICAL, "general_status": status, "entity_id": entity}


# Spikes of one status


@SPIKES
def test_a_spike_pages_a_minute_after_it_crosses_the_limit(status: str, alert: str, world: World) -> None:
    world.watched(Hold(120, 30))
    world.messages("DELIVERED", Rate(120, 20))
    world.messages(status, Rate(60, 0), Rate(60, 10))
    crossed = {"REJECTED": 62.0, "UNDELIVERABLE": 63.5}[status]  # 20 of 320 messages, 35 of 335
    world.firing(crossed + 0.75, alert)
    world.firing(crossed + 1.5, alert, spike(status))
    world.firing(119, alert, spike(status))


@SPIKES
def test_a_spike_goes_on_for_ten_minutes_after_the_last_sign_of_it(
    status: str, alert: str, world: World
) -> None:
    world.watched(Hold(150, 30))
    world.messages("DELIVERED", Rate(150, 20))
    world.messages(status, Rate(60, 0), Rate(20, 20), Rate(70, 0))
    world.firing(80, alert, spike(status))
    world.firing(95, alert, spike(status))  # the window is empty by now
    world.firing(106, alert)


@SPIKES
def test_one_of_two_messages_pages_nobody(status: str, alert: str, world: World) -> None:
    world.watched(Hold(180, 30))
    world.messages("DELIVERED", Rate(180, 1 / 15))
    world.messages(status, Rate(180, 1 / 15))
    world.never(180, DELIVERY_ALERTS)


@SPIKES
def test_a_handful_of_messages_pages_nobody(status: str, alert: str, world: World) -> None:
    world.watched(Hold(120, 30))
    world.messages("DELIVERED", Rate(120, 3))
    world.messages(status, Rate(60, 0), Rate(60, 0.3))  # 18 in an hour, of 198
    world.never(120, alert)


@SPIKES
def test_what_an_account_is_used_to_pages_nobody(status: str, alert: str, world: World) -> None:
    world.watched(Hold(HISTORY, 30))
    world.messages("DELIVERED", Rate(HISTORY, 20))
    world.messages(status, Rate(HISTORY - 90, 4), Rate(90, 8))  # 17 %, then 29 %
    world.never(HISTORY - 1, alert, since=LEARNT)


@SPIKES
def test_far_more_than_an_account_is_used_to_pages(status: str, alert: str, world: World) -> None:
    world.watched(Hold(HISTORY, 30))
    world.messages("DELIVERED", Rate(HISTORY - 60, 14), Rate(60, 1))
    world.messages(status, Rate(HISTORY - 60, 6), Rate(60, 19))  # 30 %, then 95 %
    world.firing(HISTORY - 60, alert)
    world.firing(HISTORY - 30, alert, spike(status))


@SPIKES
def test_an_incident_of_this_hour_is_not_what_the_account_is_used_to(
    status: str, alert: str, world: World
) -> None:
    world.watched(Hold(180, 30))
    world.messages("DELIVERED", Rate(100, 20), Rate(80, 14))
    world.messages(status, Rate(100, 0), Rate(80, 6))  # an eighth by now, a twenty-fifth an hour ago
    world.firing(175, alert, spike(status))


def test_an_account_used_to_most_being_rejected_still_pages_when_all_are(world: World) -> None:
    world.watched(Hold(HISTORY, 30))
    world.messages("DELIVERED", Rate(HISTORY - 60, 10), Rate(60, 0))
    world.messages("REJECTED", Rate(HISTORY - 60, 10), Rate(60, 20))
    world.firing(HISTORY - 60, "RejectedSpike")
    world.firing(HISTORY - 30, "RejectedSpike", spike("REJECTED"))


def test_the_spike_of_one_entity_names_it_and_leaves_the_others_alone(world: World) -> None:
    world.watched(Hold(90, 30))
    for entity in ("shop", "bank", ""):
        world.messages("DELIVERED", Rate(90, 20), entity=entity)
    world.messages("REJECTED", Rate(60, 0), Rate(30, 10), entity="bank")
    world.messages("REJECTED", Rate(60, 0), Rate(30, 10), entity="")
    world.firing(80, "RejectedSpike", spike("REJECTED", "bank"), spike("REJECTED", ""))


def test_one_accounts_spike_pages_while_another_account_is_catching_up(world: World) -> None:
    other = {"account": "second", "channel": "sms"}
    world.watched(Hold(120, 30))
    world.watched(Hold(60, 30), Hold(60, 7200), labels=other)
    for labels in (FEED, other):
        world.messages("DELIVERED", Rate(120, 20), labels=labels)
        world.messages("REJECTED", Rate(60, 0), Rate(60, 10), labels=labels)
    world.firing(90, "RejectedSpike", spike("REJECTED"))


def test_the_first_burst_of_a_new_entity_pages_because_its_counter_was_shown_at_zero(world: World) -> None:
    world.watched(Hold(120, 30))
    world.messages("DELIVERED", Rate(120, 20))
    world.messages("REJECTED", Gap(60), Rate(1, 0), Jump(60), Rate(59, 0), entity="new")
    world.firing(64, "RejectedSpike", spike("REJECTED", "new"))


def test_a_counter_that_appears_with_a_value_pages_nobody(world: World) -> None:
    world.watched(Hold(120, 30))
    world.messages("DELIVERED", Rate(120, 20))
    world.messages("REJECTED", Gap(60), Jump(6000), Rate(60, 0), entity="new")
    world.never(120, DELIVERY_ALERTS)


# Blind, catching up, starting


def test_a_first_start_that_looks_back_pages_nobody(world: World) -> None:
    world.watched(Gap(10), Hold(180, 30))
    for status in ("DELIVERED", "REJECTED", "UNDELIVERABLE"):
        world.messages(
            status, Gap(10), Rate(1, 0), Jump(20000), Rate(179, 20 if status == "DELIVERED" else 0)
        )
    world.never(190, DELIVERY_ALERTS)


def test_a_spike_that_goes_on_after_the_catching_up_pages(world: World) -> None:
    world.watched(Hold(60, 30), Hold(60, 3600), Hold(60, 30))
    world.messages("DELIVERED", Rate(60, 20), Rate(60, 0), Jump(1200), Rate(60, 20))
    world.messages("REJECTED", Rate(60, 0), Rate(60, 0), Jump(600), Rate(60, 10))
    world.firing(154, "RejectedSpike")
    world.firing(157, "RejectedSpike", spike("REJECTED"))


def test_a_restart_pages_nobody_and_does_not_end_a_page(world: World) -> None:
    world.watched(Hold(60, 30), Gap(1.5), Hold(118.5, 30))
    world.messages("DELIVERED", Rate(60, 20), Gap(1.5), Jump(30), Rate(118.5, 20))
    world.messages("REJECTED", Rate(60, 0.1), Gap(1.5), Rate(118.5, 0.1))
    world.messages("REJECTED", Rate(40, 0), Rate(20, 20), Gap(1.5), Jump(30), Rate(118.5, 20), entity="bank")
    world.firing(45, "RejectedSpike", spike("REJECTED", "bank"))
    world.value(
        179, 'count_over_time(ALERTS{alertname="RejectedSpike",alertstate="firing",entity_id="shop"}[3h])'
    )
    firing = 'count_over_time(ALERTS{alertname="RejectedSpike",alertstate="firing"}[120m])'
    world.value(179, f"sum({firing}) >= bool 480", ("{}", 1))


def test_a_state_that_was_lost_pages_nobody(world: World) -> None:
    world.watched(Hold(180, 30))
    world.messages("DELIVERED", Rate(90, 20), Reset(), Rate(90, 20))
    world.messages("REJECTED", Jump(5000), Rate(90, 0.2), Reset(), Rate(90, 0.2))
    world.add("infobip_messages_sent_total", Rate(90, 20), Reset(), Rate(90, 20), entity_id="shop")
    world.never(180, DELIVERY_ALERTS)


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


def test_a_share_that_creeps_up_makes_a_ticket_the_same_day(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(30 * 60, 30))
    shares = [2 + 7 * hour / 24 for hour in range(24)]
    world.messages("DELIVERED", Rate(360, 98), *(Rate(60, 100 - share) for share in shares))
    world.messages("UNDELIVERABLE", Rate(360, 2), *(Rate(60, share) for share in shares))
    world.value(30 * 60 - 1, 'count(ALERTS{alertname="ErrorBudgetBurn",alertstate="firing"})', ("{}", 1))


def test_failures_within_the_objective_burn_nothing(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(HISTORY, 30))
    world.messages("DELIVERED", Rate(HISTORY, 20))
    world.messages("EXPIRED", Rate(HISTORY, 0.8))
    world.never(HISTORY, DELIVERY_ALERTS)


def test_failures_of_little_traffic_burn_nothing(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(HISTORY, 30))
    world.messages("DELIVERED", Rate(HISTORY, 0.01))
    world.messages("EXPIRED", Rate(HISTORY, 0.1))
    world.never(HISTORY, "ErrorBudgetBurn")


# Others than spikes


def test_one_entity_whose_alert_fires_is_not_the_account(world: World) -> None:
    world.watched(Hold(120, 30))
    world.messages("DELIVERED", Rate(60, 20), Rate(60, 0))
    world.messages("REJECTED", Rate(60, 0), Rate(60, 20))
    world.firing(119, "RejectedSpike", spike("REJECTED"))
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


def test_slow_failures_are_not_slow_deliveries(world: World) -> None:
    world.watched(Hold(120, 30))
    durations(world, 120, slow_from=60, status="EXPIRED")
    world.never(120, "DeliverySlow")


def test_a_few_slow_deliveries_alert_nobody(world: World) -> None:
    world.watched(Hold(180, 30))
    durations(world, 180, slow_from=60, per_minute=1)
    world.never(180, "DeliverySlow")


def test_old_deliveries_that_are_caught_up_are_not_slow_now(world: World) -> None:
    world.watched(Hold(60, 30), Hold(10, 7200), Hold(60, 30))
    durations(world, 120, slow_from=60)
    world.firing(100, "DeliverySlow")


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


def test_messages_in_flight_for_less_than_an_hour_are_not_stuck(world: World) -> None:
    world.watched(Hold(240, 30))
    in_flight(world, Hold(120, 10), Hold(120, 400), oldest=Hold(240, 190 * 60.0))
    world.never(239, "MessagesStuckInFlight")


def test_as_many_in_flight_as_usual_are_not_stuck(world: World) -> None:
    world.watched(Hold(HISTORY, 30))
    in_flight(world, Hold(HISTORY, 400), oldest=Hold(HISTORY, 0))
    world.firing(HISTORY - 1, "MessagesStuckInFlight")


@pytest.mark.parametrize("count", [90, 290])
def test_few_in_flight_or_few_for_the_traffic_are_not_stuck(count: int, world: World) -> None:
    world.watched(Hold(240, 30))
    in_flight(world, Hold(120, 10), Hold(120, count), oldest=Hold(240, 0))
    world.never(240, "MessagesStuckInFlight")


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
