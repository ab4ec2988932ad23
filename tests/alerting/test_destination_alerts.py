"""Countries and networks, held against the same hour of the last days."""

import pytest

from tests.alerting.servers import needs
from tests.alerting.world import EXPORTER, FEED, Gap, Hold, Part, Rate, World

pytestmark = needs("promtool")

DAY = 24 * 60
DAYS = 2
NOW = DAYS * DAY
WARNING = {**EXPORTER, **FEED, "severity": "warning", "component": "delivery"}
ALERTS = "DestinationSpike|DestinationFailing"


def days(usual: Part, now: Part, usually: float = 1.0) -> list[Part]:
    """`usual` for an hour of each day, and `now` in that of the last; in between there is `usually` a minute."""
    return [part for day in range(1, DAYS) for part in (Rate(DAY - 60, usually), usual)] + [
        Rate(DAY - 60, usually),
        now,
    ]


def fill(world: World, sent: list[Part], *, failed: list[Part] | None = None, **labels: str) -> None:
    world.every_s, world.evaluated_s = 60, 240
    world.watched(Hold(NOW, 30))
    world.add("infobip_messages_sent_total", Rate(NOW, 10), country="DE")
    world.add("infobip_messages_sent_total", *sent, **labels)
    if failed is not None:
        world.add("infobip_messages_total", *sent, general_status="DELIVERED", **labels)
        world.add("infobip_messages_total", *failed, general_status="UNDELIVERABLE", **labels)


@pytest.mark.parametrize(
    "labels", [{"country": "LV"}, {"mcc_mnc": "24701"}, {"country": "LV", "mcc_mnc": "24701"}]
)
def test_three_times_as_many_as_at_this_hour_of_the_last_days(labels: dict[str, str], world: World) -> None:
    fill(world, days(Rate(60, 3), Rate(60, 12)), **labels)
    world.firing(NOW - 1, "DestinationSpike", {**WARNING, **labels})
    world.never(NOW - 50, ALERTS)


def test_a_destination_that_nothing_was_ever_sent_to(world: World) -> None:
    fill(world, [Gap(NOW - 60), Rate(60, 3)], country="LV")
    world.firing(NOW - 1, "DestinationSpike", {**WARNING, "country": "LV"})


@pytest.mark.parametrize(
    "sent",
    [
        days(Rate(60, 30), Rate(60, 60)),
        days(Rate(60, 0), Rate(60, 1.6)),  # 96 messages
        [Rate(NOW, 50)],
    ],
    ids=["each day at this hour", "few", "always"],
)
def test_what_is_usual_or_little_is_no_spike(sent: list[Part], world: World) -> None:
    fill(world, sent, country="LV")
    world.never(NOW - 1, ALERTS)


def test_a_feed_that_is_new_has_no_spike(world: World) -> None:
    world.every_s, world.evaluated_s = 60, 240
    world.watched(Hold(20 * 60, 30))
    world.add("infobip_messages_sent_total", Rate(600, 1), Rate(600, 100), country="LV")
    world.never(20 * 60 - 1, ALERTS)


def test_more_fail_than_at_this_hour_of_the_last_days(world: World) -> None:
    fill(world, [Rate(NOW, 10)], failed=days(Rate(60, 1), Rate(60, 8), 0.1), country="LV")
    world.firing(NOW - 1, "DestinationFailing", {**WARNING, "country": "LV"})
    world.never(NOW - 58, ALERTS, since=NOW - 6 * 60)


@pytest.mark.parametrize(
    ("sent", "failed"),
    [
        ([Rate(NOW, 10)], [Rate(NOW, 6)]),
        ([Rate(NOW, 10)], days(Rate(60, 4), Rate(60, 6), 0.1)),
        ([Rate(NOW, 1)], days(Rate(60, 0), Rate(60, 0.6), 0)),  # of 96 messages
        ([Gap(NOW - 60), Rate(60, 1)], [Gap(NOW - 60), Rate(60, 1)]),
    ],
    ids=["always", "each day at this hour", "few", "never sent to"],
)
def test_failures_that_are_usual_or_few_make_no_alert(
    sent: list[Part], failed: list[Part], world: World
) -> None:
    fill(world, sent, failed=failed, country="LV")
    world.never(NOW - 1, "DestinationFailing", since=NOW - 6 * 60)
