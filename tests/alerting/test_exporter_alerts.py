"""Alerts on the exporter itself: they say when the numbers can't be trusted, and only then."""

from pathlib import Path

import pytest

from tests.alerting.promtool import check_alone
from tests.alerting.servers import needs
from tests.alerting.world import EXPORTER, FEED, TARGET, Gap, Hold, Jump, Rate, Slope, World

pytestmark = needs("promtool")

CRITICAL = {"severity": "critical", "component": "exporter"}
WARNING = {"severity": "warning", "component": "exporter"}
HERE = {**EXPORTER, **FEED}
EXPORTER_ALERTS = "Exporter.*|Api.*|FeedGone|RecordsRejected|AuditMissed|CountsLate|ConfigReloadFailed|LabelOverflow|ClockSkew|LogLinesDropped"


def requests(world: World, code: str, *parts: Rate | Jump | Gap) -> None:
    world.add("infobip_exporter_api_requests_total", *parts, code=code)


def refused(world: World, *up: Hold) -> None:
    """The gauges of an exporter whose polls fail where `up` says so."""
    world.watched(Hold(sum(part.minutes for part in up), 30))
    world.add("infobip_up", *up)


def test_an_exporter_that_cannot_be_scraped_pages_after_five_minutes(world: World) -> None:
    world.watched(Hold(30, 30), Gap(30))
    world.firing(34.5, "ExporterDown")
    world.firing(35, "ExporterDown", {**CRITICAL, **TARGET})


def test_without_any_exporter_a_page_says_so_and_the_watchdog_fires(tmp_path: Path) -> None:
    world = World()
    world.firing(4.5, "ExporterDown")
    world.firing(5, "ExporterDown", CRITICAL)
    for minute in (0, 60):
        world.firing(minute, "Watchdog", {"severity": "none", "component": "exporter"})
    check_alone(world, tmp_path)


def test_another_target_that_is_down_is_no_exporter(world: World) -> None:
    world.watched(Hold(60, 30))
    world.add("up", Hold(60, 0), labels={"job": "node", "instance": "node:9100"})
    world.never(60, EXPORTER_ALERTS)


def test_an_exporter_behind_warns_and_pages_when_a_day_is_unread(world: World) -> None:
    world.watched(Hold(240, 30), Hold(30, 1400), Hold(30, 25 * 3600), Hold(30, 30))
    world.firing(249.5, "ExporterBehind")
    world.firing(251, "ExporterBehind", {**HERE, **WARNING})
    world.firing(276, "ExporterBehind", {**HERE, **WARNING}, {**HERE, **CRITICAL})
    world.firing(329, "ExporterBehind")


def test_a_backlog_behind_a_fresh_lag_is_behind_too(world: World) -> None:
    world.watched(Hold(120, 30))
    world.add("infobip_exporter_backlog_seconds", Hold(60, 0), Hold(60, 7200))
    world.firing(71, "ExporterBehind", {**HERE, **WARNING})
    world.firing(76, "ExporterBlind", {**HERE, **CRITICAL})


def test_polls_that_fail_for_less_than_a_quarter_of_an_hour_page_nobody(world: World) -> None:
    world.watched(Hold(60, 30), Slope(10, 630), Hold(60, 30))
    world.add("infobip_up", Hold(60, 1), Hold(10, 0), Hold(60, 1))
    world.never(129, EXPORTER_ALERTS)


def test_an_exporter_that_is_always_late_is_not_behind(world: World) -> None:
    world.watched(Hold(120, 3000))
    world.never(119, EXPORTER_ALERTS)


def test_a_feed_that_moved_to_another_instance_is_not_gone(world: World) -> None:
    world.watched(Hold(60, 30), Gap(60))
    world.watched(Gap(60), Hold(60, 30), labels={**FEED, "instance": "other"})
    world.never(119, "FeedGone")


def test_an_exporter_that_is_down_has_not_lost_its_feeds(world: World) -> None:
    world.watched(Hold(60, 30), Gap(60))
    world.watched(Hold(120, 30), labels={"job": "second", "account": "second", "channel": "sms"})
    world.never(119, "FeedGone")
    world.firing(119, "ExporterDown", {**CRITICAL, **TARGET})


@pytest.mark.parametrize("reason", ["expired", "too_dense"])
def test_lost_time_pages_at_once(reason: str, world: World) -> None:
    world.watched(Hold(180, 30))
    world.add("infobip_exporter_lost_seconds_total", Hold(30, 0), Hold(150, 600), reason=reason)
    world.firing(29.5, "ExporterLosingData")
    world.firing(30, "ExporterLosingData", {**HERE, **CRITICAL, "reason": reason})
    world.firing(110, "ExporterLosingData", {**HERE, **CRITICAL, "reason": reason})
    world.firing(121, "ExporterLosingData")


def test_time_lost_long_ago_is_not_lost_again_by_a_restart(world: World) -> None:
    world.watched(Hold(30, 30), Gap(3), Hold(60, 30))
    world.add("infobip_exporter_lost_seconds_total", Hold(30, 600), Gap(3), Hold(60, 600), reason="expired")
    world.never(93, EXPORTER_ALERTS)


@pytest.mark.parametrize("code", ["401", "403"])
def test_a_refused_key_pages_within_minutes_and_until_a_poll_succeeds(code: str, world: World) -> None:
    refused(world, Hold(30, 1), Hold(60, 0), Hold(30, 1))
    requests(world, "200", Rate(30, 2), Rate(60, 0), Rate(30, 2))
    # A series is shown at zero first; asked again only every five minutes.
    requests(world, code, Gap(30), Rate(1, 0), Jump(1), Rate(59, 0.2), Rate(30, 0))
    world.firing(32.5, "ApiRefusing")
    world.firing(33, "ApiRefusing", {**HERE, **CRITICAL, "code": code})
    world.firing(89, "ApiRefusing", {**HERE, **CRITICAL, "code": code})
    world.firing(90, "ApiRefusing")


def test_polls_that_fail_otherwise_are_not_refused(world: World) -> None:
    refused(world, Hold(30, 1), Hold(60, 0))
    requests(world, "500", Rate(30, 0), Rate(60, 2))
    requests(world, "401", Jump(7), Rate(90, 0))
    world.never(90, "ApiRefusing")


def test_throttling_warns_when_it_lasts(world: World) -> None:
    world.watched(Hold(120, 30))
    requests(world, "200", Rate(120, 18))
    requests(world, "429", Rate(30, 0), Rate(60, 2), Rate(30, 0))  # 10 %, over 5 % from minute 37.5 on
    world.firing(47, "ApiThrottled")
    world.firing(47.5, "ApiThrottled", {**HERE, **WARNING})
    world.firing(119, "ApiThrottled")


def test_a_few_throttled_requests_warn_nobody(world: World) -> None:
    world.watched(Hold(120, 30))
    requests(world, "200", Rate(120, 2))
    requests(world, "429", Rate(30, 0), Rate(90, 0.2))
    world.never(120, EXPORTER_ALERTS)


def freshness(world: World, late_from: float, minutes: float, of: str) -> None:
    """Messages that are counted within a minute, and from `late_from` on within ten."""
    name = "infobip_exporter_freshness_seconds"
    for bound in ("60", "300"):
        world.add(f"{name}_bucket", Rate(late_from, 10), Rate(minutes - late_from, 0), of=of, le=bound)
    for bound in ("600", "+Inf"):
        world.add(f"{name}_bucket", Rate(minutes, 10), of=of, le=bound)
    world.add(f"{name}_count", Rate(minutes, 10), of=of)


def test_messages_that_are_counted_late_warn(world: World) -> None:
    world.watched(Hold(120, 30))
    freshness(world, 60, 120, "sent")
    world.firing(70, "CountsLate")
    world.firing(80, "CountsLate", {**HERE, **WARNING})


def test_outcomes_that_are_counted_late_do_not(world: World) -> None:
    world.watched(Hold(120, 30))
    freshness(world, 120, 120, "sent")
    freshness(world, 0, 120, "settled")
    world.never(119, "CountsLate")


def test_a_configuration_that_is_refused_warns_until_one_is_taken(world: World) -> None:
    world.watched(Hold(60, 30))
    world.add(
        "infobip_exporter_config_last_reload_successful", Hold(20, 1), Hold(20, 0), Hold(20, 1), labels=TARGET
    )
    world.firing(19, "ConfigReloadFailed")
    world.firing(23, "ConfigReloadFailed", {**TARGET, **WARNING})
    world.firing(41, "ConfigReloadFailed")


@pytest.mark.parametrize("skew", [-40, 40])
def test_a_clock_that_is_wrong_warns_whichever_way(skew: float, world: World) -> None:
    world.watched(Hold(60, 30))
    world.add("infobip_exporter_clock_skew_seconds", Hold(20, 2), Hold(40, skew))
    world.firing(34, "ClockSkew")
    world.firing(36, "ClockSkew", {**HERE, **WARNING})
