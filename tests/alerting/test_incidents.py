"""How soon incidents page, and what must not: a world for each, checked by promtool.

`START` is the minute of the first bad message; rates are messages a minute.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.alerting.world import (
    DELIVERY_ALERTS,
    DELIVERY_PAGES,
    EXPORTER,
    FEED,
    LEARNT,
    Gap,
    Hold,
    Jump,
    Part,
    Rate,
    Slope,
    World,
)

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")

START = 150.0
END = 300.0
"""Two hours after the last page is due."""


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


def all_rejected(per_minute: float) -> World:
    world = World()
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": per_minute, "REJECTED": 0}, {"REJECTED": per_minute})
    return world


def with_lag(*lag: Part) -> World:
    """All of 100 a minute are rejected, under this lag."""
    world = World()
    world.watched(*lag)
    gapless = [Rate(START, 100), Rate(END - START, 0)]
    world.messages("DELIVERED", *gapless)
    world.messages("REJECTED", Rate(START, 0), Rate(END - START, 100))
    return world


def with_gaps(*gaps: tuple[float, float]) -> World:
    """All of 100 a minute are rejected, while the exporter is away from a minute to another."""
    world = World()
    world.watched(*_cut([Hold(END, 30)], gaps))
    world.messages("DELIVERED", *_cut([Rate(START, 100), Rate(END - START, 0)], gaps))
    world.messages("REJECTED", *_cut([Rate(START, 0), Rate(END - START, 100)], gaps))
    return world


def _cut(parts: list[Part], gaps: tuple[tuple[float, float], ...]) -> list[Part]:
    """The parts, with gaps in the place of some of their time; what was counted meanwhile is there afterwards."""
    cut: list[Part] = []
    now = 0.0
    for part in parts:
        assert isinstance(part, Rate | Hold)
        end = now + part.minutes
        for begin, finish in gaps:
            if now <= begin < end:
                stop = min(finish, end)
                cut += _lasting(part, begin - now)
                cut += [Gap(stop - begin)]
                cut += [Jump(part.per_minute * (stop - begin))] if isinstance(part, Rate) else []
                now = stop
            elif begin < now < finish:
                cut += [Gap(finish - now)]
                cut += [Jump(part.per_minute * (finish - now))] if isinstance(part, Rate) else []
                now = finish
        cut += _lasting(part, end - now)
        now = end
    return cut


def _lasting(part: Rate | Hold, minutes: float) -> list[Part]:
    if isinstance(part, Rate):
        return [Rate(minutes, part.per_minute)]
    return [Hold(minutes, part.value)]


def unheard_of() -> World:
    world = World()
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": 100}, {"BLOCKED": 100})
    return world


def expired(per_minute: float, share: float) -> World:
    world = World()
    world.watched(Hold(END, 30))
    after = {"DELIVERED": per_minute * (1 - share), "EXPIRED": per_minute * share}
    changes(world, {"DELIVERED": per_minute, "EXPIRED": 0}, after)
    return world


def undeliverable() -> World:
    world = World()
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": 980, "UNDELIVERABLE": 20}, {"DELIVERED": 910, "UNDELIVERABLE": 90})
    return world


def many_entities() -> World:
    world = World()
    world.watched(Hold(END, 30))
    for number in range(40):
        changes(world, {"DELIVERED": 1, "REJECTED": 0}, {"REJECTED": 1}, entity=f"shop-{number}")
    return world


def beside_a_big_one() -> World:
    world = World()
    world.watched(Hold(END, 30))
    usual = {"DELIVERED": 700, "REJECTED": 300}
    changes(world, usual, usual, entity="big")
    changes(world, {"DELIVERED": 100, "REJECTED": 0}, {"DELIVERED": 40, "REJECTED": 60}, entity="small")
    return world


def from_35_to_65() -> World:
    world = World()
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": 65, "UNDELIVERABLE": 35}, {"DELIVERED": 35, "UNDELIVERABLE": 65})
    return world


def pending(per_minute: float) -> World:
    world = World()
    world.watched(Hold(END, 30))
    world.add("infobip_messages_sent_total", Rate(END, per_minute), entity_id="shop")
    world.messages("DELIVERED", Rate(START, per_minute), Rate(END - START, 0))
    return world


def staging(lag: float) -> World:
    """All of 100 a minute are rejected, beside a second exporter of the same account."""
    world = all_rejected(100)
    other = {**FEED, "job": "infobip-staging"}
    world.watched(Hold(END, lag), labels=other)
    return world


def api_down() -> World:
    world = World()
    world.watched(Hold(START, 30), Slope(END - START, 30 + 60 * (END - START)))
    world.add("infobip_up", Hold(START, 1), Hold(END - START, 0))
    world.add("infobip_exporter_api_requests_total", Rate(START, 0), Rate(END - START, 2), code="503")
    changes(world, {"DELIVERED": 100}, {"DELIVERED": 0})
    return world


def never_reached() -> World:
    world = World()
    world.watched(Gap(START), Hold(END - START, 0))
    del world.series[
        'infobip_exporter_lag_seconds{account="main",channel="instagram",instance="infobip",job="infobip"}'
    ]
    world.add("infobip_up", Gap(START), Hold(END - START, 0))
    world.series['up{instance="exporter:10470",job="infobip"}'] = world.samples(Hold(END, 1))
    world.series['infobip_exporter_build_info{instance="exporter:10470",job="infobip"}'] = world.samples(
        Hold(END, 1)
    )
    return world


def series_gone() -> World:
    other = {"account": "second", "channel": "sms"}
    world = World()
    world.watched(Hold(START, 30), Gap(END - START))
    world.watched(Hold(END, 30), labels=other)
    world.messages("DELIVERED", Rate(START, 100), Gap(END - START))
    world.messages("DELIVERED", Rate(END, 100), labels=other)
    return world


def uncountable() -> World:
    world = World()
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": 100}, {"DELIVERED": 0})
    world.add(
        "infobip_exporter_records_rejected_total", Rate(START, 0), Rate(END - START, 100), reason="no_status"
    )
    return world


def another_job_down() -> World:
    world = World()
    world.watched(Hold(START, 30), Gap(END - START), labels={**FEED, "job": "messages"})
    return world


class Incident(NamedTuple):
    world: Callable[[], World]
    within: float
    """Minutes from START to the first page."""
    alerts: str
    """What pages first."""
    lasts: float = END - START - 1
    """Minutes from START for which some such alert pages, at the least."""


SAWTOOTH = [part for _ in range(round(END / 9)) for part in (Hold(8, 200), Hold(1, 610))]

INCIDENTS: dict[str, Incident] = {
    "all rejected, 1000 a minute": Incident(lambda: all_rejected(1000), 6, "RejectedSpike"),
    "all rejected, 10 a minute": Incident(lambda: all_rejected(10), 8, "RejectedSpike"),
    "all rejected, 1 a minute": Incident(lambda: all_rejected(1), 20, "RejectedSpike"),
    "a group nobody has heard of": Incident(unheard_of, 8, "FailureSpike"),
    "all expired, 10 a minute": Incident(lambda: expired(10, 1), 12, "FailureSpike"),
    "half expired, 1000 a minute": Incident(lambda: expired(1000, 0.5), 8, "FailureSpike"),
    "2 to 9 % undeliverable, 1000 a minute": Incident(undeliverable, 45, "UndeliverableSpike", lasts=90),
    "40 entities of 1 a minute": Incident(many_entities, 15, "AccountFailing"),
    "a healthy entity beside a big failing one": Incident(beside_a_big_one, 8, "RejectedSpike"),
    "35 to 65 % undeliverable": Incident(from_35_to_65, 45, "UndeliverableSpike"),
    "always 12 minutes late": Incident(lambda: with_lag(Hold(END, 720)), 6, "RejectedSpike"),
    "late by 200 to 610 s": Incident(lambda: with_lag(*SAWTOOTH), 6, "RejectedSpike"),
    "restarted twice in 11 minutes": Incident(
        lambda: with_gaps((START + 0.5, START + 1.75), (START + 11, START + 12.25)), 10, "RejectedSpike"
    ),
    "away for 4 of every 20 minutes": Incident(
        lambda: with_gaps(*((START - 141 + 20 * n, START - 137 + 20 * n) for n in range(15))),
        14,
        "RejectedSpike",
    ),
    "lag grows to 11 minutes": Incident(
        lambda: with_lag(Hold(START, 30), Slope(11, 660), Hold(END - START - 11, 660)), 6, "RejectedSpike"
    ),
    "all pending, 10 a minute": Incident(lambda: pending(10), 26, "NothingSettles"),
    "all pending, 1000 a minute": Incident(lambda: pending(1000), 26, "NothingSettles"),
    "a late exporter of the same account beside it": Incident(lambda: staging(720), 6, "RejectedSpike"),
    "the API down": Incident(api_down, 31, "ExporterBlind"),
    "the API never reached": Incident(never_reached, 31, "ExporterBlind"),
    "a feed's series gone": Incident(series_gone, 15, "FeedGone", lasts=90),
    "rows that can't be counted": Incident(uncountable, 25, "RecordsRejected"),
    "a job of another name down": Incident(another_job_down, 12, "ExporterDown"),
}


@pytest.mark.parametrize("name", INCIDENTS)
def test_an_incident_pages_in_time_and_as_long_as_it_goes_on(name: str, tmp_path: Path) -> None:
    incident = INCIDENTS[name]
    world = incident.world()
    world.pages(START, incident.within, incident.alerts, START + incident.lasts)
    world.check(tmp_path)


def always_failing(share: float, whole_account: bool) -> World:
    world = World()
    world.watched(Hold(END, 30))
    usual = {"DELIVERED": 10 * (1 - share), "UNDELIVERABLE": 10 * share}
    changes(world, usual, usual, entity="marketing")
    if not whole_account:
        changes(world, {"DELIVERED": 1000}, {"DELIVERED": 1000})
    return world


@pytest.mark.parametrize("by_campaign", [False, True])
@pytest.mark.parametrize("whole_account", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.35])
def test_what_always_fails_pages_nobody_after_two_hours(
    share: float, whole_account: bool, by_campaign: bool, tmp_path: Path
) -> None:
    world = always_failing(share, whole_account)
    world.by_campaign = by_campaign
    world.never(END - 1, DELIVERY_PAGES, since=LEARNT)
    world.check(tmp_path)


def test_a_new_account_all_of_whose_messages_are_rejected_pages_without_an_end(tmp_path: Path) -> None:
    world = World(every_s=60)
    world.watched(Hold(24 * 60, 30))
    world.messages("REJECTED", Rate(24 * 60, 10))
    world.never(20, DELIVERY_PAGES)
    world.pages(0, 25, "RejectedSpike", until=24 * 60 - 1)
    world.check(tmp_path)


def test_a_failure_that_goes_on_does_not_become_the_usual(tmp_path: Path) -> None:
    world = World(every_s=60)
    world.watched(Hold(START + 24 * 60, 30))
    before, after = {"DELIVERED": 65, "REJECTED": 35}, {"DELIVERED": 35, "REJECTED": 65}
    changes(world, before, after, end=START + 24 * 60)
    world.pages(START, 45, "RejectedSpike", until=START + 24 * 60 - 1)
    world.check(tmp_path)


LONG = 480.0
"""Time to catch up, and for each window to see nothing but what came after."""


def caught_up(*, slowly: bool) -> World:
    """Two hours without the API, in which most messages were rejected; then all of it is counted."""
    outage, catching_up = 120, 20 if slowly else 0.25
    rest = LONG - START - outage - catching_up
    world = World()
    world.watched(Hold(START, 30), Slope(outage, 7230), Slope(catching_up, 30), Hold(rest, 30))
    for status, usual, missed in (("DELIVERED", 98, 20), ("REJECTED", 1, 60), ("UNDELIVERABLE", 1, 20)):
        late = Rate(catching_up, usual + missed * outage / catching_up)
        world.messages(status, Rate(START, usual), Rate(outage, 0), late, Rate(rest, usual))
    sent = Rate(catching_up, 100 + 100 * outage / catching_up)
    world.add(
        "infobip_messages_sent_total",
        Rate(START, 100),
        Rate(outage, 0),
        sent,
        Rate(rest, 100),
        entity_id="shop",
    )
    return world


@pytest.mark.parametrize("slowly", [True, False])
def test_catching_up_after_two_hours_makes_no_delivery_alert(slowly: bool, tmp_path: Path) -> None:
    world = caught_up(slowly=slowly)
    world.never(LONG - 1, DELIVERY_ALERTS)
    world.check(tmp_path)


def test_catching_up_before_the_first_scrape_makes_no_delivery_alert(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(START, 30), Gap(120), Hold(LONG - START - 120, 30))
    for status, usual, missed in (("DELIVERED", 98, 20), ("REJECTED", 1, 60), ("UNDELIVERABLE", 1, 20)):
        before, after = Rate(START, usual), Rate(LONG - START - 121, usual)
        world.messages(status, before, Gap(120), Rate(1, 0), Jump(missed * 120), after)
    world.never(LONG - 1, DELIVERY_ALERTS)
    world.check(tmp_path)


def test_a_healthy_job_of_another_name_alerts_nobody(tmp_path: Path) -> None:
    labels = {**FEED, "job": "messages"}
    world = World()
    world.watched(Hold(END, 30), labels=labels)
    world.messages("DELIVERED", Rate(END, 100), labels=labels)
    world.never(END - 1, "[^W].*")
    world.check(tmp_path)


@pytest.mark.parametrize("other", [{"job": "infobip-staging"}, {"instance": "staging"}])
def test_a_second_exporter_of_the_same_account_changes_nothing(other: dict[str, str], tmp_path: Path) -> None:
    labels = {**FEED, **other}
    world = all_rejected(100)
    world.watched(Hold(END, 720), labels=labels)
    world.messages("DELIVERED", Rate(END, 100), labels=labels)
    world.pages(START, 6, "RejectedSpike", END - 1)
    page = {**EXPORTER, **FEED, "severity": "critical", "component": "delivery"}
    world.firing(END - 1, "RejectedSpike", {**page, "entity_id": "shop", "general_status": "REJECTED"})
    world.check(tmp_path)


def test_scrapes_every_minute_page_as_well(tmp_path: Path) -> None:
    world = World(every_s=60, evaluated_s=15)
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": 100, "REJECTED": 0}, {"REJECTED": 100})
    world.pages(START, 6, "RejectedSpike", END - 1)
    world.check(tmp_path)


def test_few_messages_page_within_the_hours_that_proof_takes(tmp_path: Path) -> None:
    world = World(every_s=60)
    world.watched(Hold(END, 30))
    changes(world, {"DELIVERED": 0.25, "REJECTED": 0}, {"REJECTED": 0.25})
    world.pages(START, 100, "RejectedSpike", END - 1)
    world.check(tmp_path)


def test_a_lag_of_two_minutes_each_hour_does_not_delay_a_page(tmp_path: Path) -> None:
    late = [part for _ in range(round(END / 60) + 1) for part in (Hold(58, 30), Hold(2, 650))]
    world = with_lag(*late)
    world.pages(START, 6, "RejectedSpike", END - 1)
    world.never(END - 1, "Exporter.*")
    world.check(tmp_path)
