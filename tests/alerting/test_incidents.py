"""How soon incidents page, and what must not: a world for each, checked by promtool.

`START` is the minute of the first bad message; rates are messages a minute.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from tests.alerting.servers import needs
from tests.alerting.world import (
    DELIVERY_ALERTS,
    DELIVERY_PAGES,
    EXPORTER,
    FEED,
    LEARNT,
    TARGET,
    Gap,
    Hold,
    Jump,
    Part,
    Rate,
    Slope,
    World,
    selector,
)

pytestmark = needs("promtool")

START = 150.0
END = 300.0
"""Two hours after the last page is due."""
A_DAY = START + 24 * 60


def changes(
    world: World,
    before: Mapping[str, float],
    after: Mapping[str, float],
    entity: str = "shop",
    labels: Mapping[str, str] | None = None,
    end: float = END,
) -> None:
    """Rates by status before START and after."""
    for status in {**before, **after}:
        parts = [Rate(START, before.get(status, 0)), Rate(end - START, after.get(status, 0))]
        world.messages(status, *parts, entity=entity, labels=labels)
    sent = [Rate(START, sum(before.values())), Rate(end - START, sum(after.values()))]
    world.add("infobip_messages_sent_total", *sent, labels=labels, entity_id=entity)


def healthy_until_then(world: World, before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """A feed that is read in time, and whose rates change at START."""
    world.watched(Hold(END, 30))
    changes(world, before, after)


def all_rejected(world: World, per_minute: float) -> None:
    healthy_until_then(world, {"DELIVERED": per_minute, "REJECTED": 0}, {"REJECTED": per_minute})


def with_lag(world: World, *lag: Part) -> None:
    """All of 100 a minute are rejected, under this lag."""
    world.watched(*lag)
    world.messages("DELIVERED", Rate(START, 100), Rate(END - START, 0))
    world.messages("REJECTED", Rate(START, 0), Rate(END - START, 100))


def with_gaps(world: World, *gaps: tuple[float, float]) -> None:
    """All of 100 a minute are rejected, while the exporter is away from a minute to another."""
    world.away = gaps
    with_lag(world, Hold(END, 30))


def undeliverable(world: World, per_minute: float, before: float, after: float) -> None:
    """So many of `per_minute` are."""
    healthy_until_then(
        world,
        {"DELIVERED": per_minute - before, "UNDELIVERABLE": before},
        {"DELIVERED": per_minute - after, "UNDELIVERABLE": after},
    )


def many_entities(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(END, 30))
    for number in range(40):
        changes(world, {"DELIVERED": 1, "REJECTED": 0}, {"REJECTED": 1}, entity=f"shop-{number}")


def beside_a_big_one(world: World) -> None:
    world.watched(Hold(END, 30))
    usual = {"DELIVERED": 700, "REJECTED": 300}
    changes(world, usual, usual, entity="big")
    changes(world, {"DELIVERED": 100, "REJECTED": 0}, {"DELIVERED": 40, "REJECTED": 60}, entity="small")


def pending(world: World) -> None:
    world.watched(Hold(END, 30))
    world.add("infobip_messages_sent_total", Rate(END, 10), entity_id="shop")
    world.messages("DELIVERED", Rate(START, 10), Rate(END - START, 0))


def api_down(world: World) -> None:
    world.watched(Hold(START, 30), Slope(END - START, 30 + 60 * (END - START)))
    world.add("infobip_up", Hold(START, 1), Hold(END - START, 0))
    world.add("infobip_exporter_api_requests_total", Rate(START, 0), Rate(END - START, 2), code="503")
    changes(world, {"DELIVERED": 100}, {"DELIVERED": 0})


def never_reached(world: World) -> None:
    world.watched(Gap(START), Hold(END - START, 0))
    del world.series[selector("infobip_exporter_lag_seconds", {**EXPORTER, **FEED})]
    world.add("infobip_up", Gap(START), Hold(END - START, 0))
    for name in ("up", "infobip_exporter_build_info"):
        world.add(name, Hold(END, 1), labels=TARGET)


def series_gone(world: World) -> None:
    other = {"account": "second", "channel": "sms"}
    world.watched(Hold(START, 30), Gap(END - START))
    world.watched(Hold(END, 30), labels=other)
    world.messages("DELIVERED", Rate(START, 100), Gap(END - START))
    world.messages("DELIVERED", Rate(END, 100), labels=other)


def uncountable(world: World) -> None:
    healthy_until_then(world, {"DELIVERED": 100}, {"DELIVERED": 0})
    world.add(
        "infobip_exporter_records_rejected_total", Rate(START, 0), Rate(END - START, 100), reason="no_status"
    )


def another_job_down(world: World) -> None:
    world.watched(Hold(START, 30), Gap(END - START), labels={**FEED, "job": "messages"})


class Incident(NamedTuple):
    fill: Callable[[World], None]
    within: float
    """Minutes from START to the first page."""
    alerts: str
    """What pages first."""
    lasts: float = END - START - 1
    """Minutes from START for which some such alert pages, at the least."""


SAWTOOTH = [part for _ in range(round(END / 9)) for part in (Hold(8, 200), Hold(1, 610))]

INCIDENTS: dict[str, Incident] = {
    "all rejected, 1000 a minute": Incident(lambda world: all_rejected(world, 1000), 6, "RejectedSpike"),
    "all rejected, 1 a minute": Incident(lambda world: all_rejected(world, 1), 20, "RejectedSpike"),
    "a group nobody has heard of": Incident(
        lambda world: healthy_until_then(world, {"DELIVERED": 100}, {"BLOCKED": 100}), 8, "FailureSpike"
    ),
    "half expired, 1000 a minute": Incident(
        lambda world: healthy_until_then(world, {"DELIVERED": 1000}, {"DELIVERED": 500, "EXPIRED": 500}),
        8,
        "FailureSpike",
    ),
    "2 to 9 % undeliverable, 1000 a minute": Incident(
        lambda world: undeliverable(world, 1000, 20, 90), 45, "UndeliverableSpike", lasts=90
    ),
    "40 entities of 1 a minute": Incident(many_entities, 15, "AccountFailing"),
    "a healthy entity beside a big failing one": Incident(beside_a_big_one, 8, "RejectedSpike"),
    "35 to 65 % undeliverable": Incident(
        lambda world: undeliverable(world, 100, 35, 65), 45, "UndeliverableSpike"
    ),
    "always 12 minutes late": Incident(lambda world: with_lag(world, Hold(END, 720)), 6, "RejectedSpike"),
    "late by 200 to 610 s": Incident(lambda world: with_lag(world, *SAWTOOTH), 6, "RejectedSpike"),
    "restarted twice in 11 minutes": Incident(
        lambda world: with_gaps(world, (START + 0.5, START + 1.75), (START + 11, START + 12.25)),
        10,
        "RejectedSpike",
    ),
    "away for 4 of every 20 minutes": Incident(
        lambda world: with_gaps(world, *((START - 141 + 20 * n, START - 137 + 20 * n) for n in range(15))),
        14,
        "RejectedSpike",
    ),
    "lag grows to 11 minutes": Incident(
        lambda world: with_lag(world, Hold(START, 30), Slope(11, 660), Hold(END - START - 11, 660)),
        6,
        "RejectedSpike",
    ),
    "all pending": Incident(pending, 26, "NothingSettles"),
    "the API down": Incident(api_down, 31, "ExporterBlind"),
    "the API never reached": Incident(never_reached, 31, "ExporterBlind"),
    "a feed's series gone": Incident(series_gone, 15, "FeedGone", lasts=90),
    "rows that can't be counted": Incident(uncountable, 25, "RecordsRejected"),
    "a job of another name down": Incident(another_job_down, 12, "ExporterDown"),
}


@pytest.mark.parametrize("name", INCIDENTS)
def test_an_incident_pages_in_time_and_as_long_as_it_goes_on(name: str, world: World) -> None:
    incident = INCIDENTS[name]
    incident.fill(world)
    world.pages(START, incident.within, incident.alerts, START + incident.lasts)


@pytest.mark.parametrize("by_campaign", [False, True])
@pytest.mark.parametrize("whole_account", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.35])
def test_what_always_fails_pages_nobody_after_two_hours(
    share: float, whole_account: bool, by_campaign: bool, world: World
) -> None:
    world.by_campaign = by_campaign
    world.watched(Hold(END, 30))
    usual = {"DELIVERED": 10 * (1 - share), "UNDELIVERABLE": 10 * share}
    changes(world, usual, usual, entity="marketing")
    if not whole_account:
        changes(world, {"DELIVERED": 1000}, {"DELIVERED": 1000})
    world.never(END - 1, DELIVERY_PAGES, since=LEARNT)


def test_a_new_account_all_of_whose_messages_are_rejected_pages_without_an_end(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(A_DAY, 30))
    world.messages("REJECTED", Rate(A_DAY, 10))
    world.never(20, DELIVERY_PAGES)
    world.pages(0, 25, "RejectedSpike", until=A_DAY - 1)


def test_a_failure_that_goes_on_does_not_become_the_usual(world: World) -> None:
    world.every_s = 60
    world.watched(Hold(A_DAY, 30))
    changes(world, {"DELIVERED": 65, "REJECTED": 35}, {"DELIVERED": 35, "REJECTED": 65}, end=A_DAY)
    world.pages(START, 45, "RejectedSpike", until=A_DAY - 1)


LONG = 480.0
"""Time to catch up, and for each window to see nothing but what came after."""
MISSED = (("DELIVERED", 98, 20), ("REJECTED", 1, 60), ("UNDELIVERABLE", 1, 20))
"""By status, the usual messages a minute, and those a minute of two hours without the API."""


@pytest.mark.parametrize("catching_up", [20, 0.25])
def test_catching_up_after_two_hours_makes_no_delivery_alert(catching_up: float, world: World) -> None:
    outage = 120
    rest = LONG - START - outage - catching_up
    world.watched(Hold(START, 30), Slope(outage, 7230), Slope(catching_up, 30), Hold(rest, 30))
    for status, usual, missed in MISSED:
        late = Rate(catching_up, usual + missed * outage / catching_up)
        world.messages(status, Rate(START, usual), Rate(outage, 0), late, Rate(rest, usual))
    sent = Rate(catching_up, 100 + 100 * outage / catching_up)
    parts = (Rate(START, 100), Rate(outage, 0), sent, Rate(rest, 100))
    world.add("infobip_messages_sent_total", *parts, entity_id="shop")
    world.never(LONG - 1, DELIVERY_ALERTS)


def test_catching_up_before_the_first_scrape_makes_no_delivery_alert(world: World) -> None:
    world.watched(Hold(START, 30), Gap(120), Hold(LONG - START - 120, 30))
    for status, usual, missed in MISSED:
        before, after = Rate(START, usual), Rate(LONG - START - 121, usual)
        world.messages(status, before, Gap(120), Rate(1, 0), Jump(missed * 120), after)
    world.never(LONG - 1, DELIVERY_ALERTS)


def test_a_healthy_job_of_another_name_alerts_nobody(world: World) -> None:
    labels = {**FEED, "job": "messages"}
    world.watched(Hold(END, 30), labels=labels)
    world.messages("DELIVERED", Rate(END, 100), labels=labels)
    world.add("infobip_exporter_api_requests_total", Rate(END, 2), labels=labels, code="200")
    world.add("infobip_exporter_lost_seconds_total", Hold(END, 0), labels=labels, reason="expired")
    world.never(END - 1, "[^W].*")


@pytest.mark.parametrize("other", [{"job": "infobip-staging"}, {"instance": "staging"}])
def test_a_second_exporter_of_the_same_account_changes_nothing(other: dict[str, str], world: World) -> None:
    labels = {**FEED, **other}
    all_rejected(world, 100)
    world.watched(Hold(END, 720), labels=labels)
    world.messages("DELIVERED", Rate(END, 100), labels=labels)
    world.pages(START, 6, "RejectedSpike", END - 1)
    page = {**EXPORTER, **FEED, "severity": "critical", "component": "delivery"}
    world.firing(END - 1, "RejectedSpike", {**page, "entity_id": "shop", "general_status": "REJECTED"})


def test_scrapes_every_minute_page_as_well(world: World) -> None:
    world.every_s, world.evaluated_s = 60, 15
    all_rejected(world, 100)
    world.pages(START, 6, "RejectedSpike", END - 1)


def test_few_messages_page_within_the_hours_that_proof_takes(world: World) -> None:
    world.every_s = 60
    all_rejected(world, 0.25)
    world.pages(START, 100, "RejectedSpike", END - 1)


def test_a_lag_of_two_minutes_each_hour_does_not_delay_a_page(world: World) -> None:
    late = [part for _ in range(round(END / 60) + 1) for part in (Hold(58, 30), Hold(2, 650))]
    with_lag(world, *late)
    world.pages(START, 6, "RejectedSpike", END - 1)
    world.never(END - 1, "Exporter.*")
