"""When a spike of one status pages and when not, beside the incidents of test_incidents.py.

Minutes count from the first scrape; every world is checked by promtool.
"""

import pytest

from tests.alerting.servers import needs
from tests.alerting.world import DELIVERY_ALERTS, EXPORTER, FEED, LEARNT, Gap, Hold, Jump, Rate, Reset, World

pytestmark = needs("promtool")

CRITICAL = {**EXPORTER, **FEED, "severity": "critical", "component": "delivery"}
SPIKES = pytest.mark.parametrize(
    ("status", "alert"), [("REJECTED", "RejectedSpike"), ("UNDELIVERABLE", "UndeliverableSpike")]
)
HISTORY = 6 * 60


def spike(status: str, entity: str = "shop") -> dict[str, str]:
    return {**CRITICAL, "general_status": status, "entity_id": entity}


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
def test_an_incident_of_this_hour_is_not_what_the_account_is_used_to(
    status: str, alert: str, world: World
) -> None:
    world.watched(Hold(180, 30))
    world.messages("DELIVERED", Rate(100, 20), Rate(80, 14))
    world.messages(status, Rate(100, 0), Rate(80, 6))  # an eighth by now, a twenty-fifth an hour ago
    world.firing(175, alert, spike(status))


def test_the_spike_of_one_entity_names_it_and_leaves_others_and_accounts_that_catch_up_alone(
    world: World,
) -> None:
    other = {"account": "second", "channel": "sms"}
    world.watched(Hold(90, 30))
    world.watched(Hold(60, 30), Hold(30, 7200), labels=other)
    for labels, entity, rejected in (
        (FEED, "shop", 0),
        (FEED, "bank", 10),
        (FEED, "", 10),
        (other, "shop", 10),
    ):
        world.messages("DELIVERED", Rate(90, 20), labels=labels, entity=entity)
        world.messages("REJECTED", Rate(60, 0), Rate(30, rejected), labels=labels, entity=entity)
    world.firing(80, "RejectedSpike", spike("REJECTED", "bank"), spike("REJECTED", ""))


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
