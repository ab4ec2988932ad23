"""Alerts on the exporter itself: they say when the numbers can't be trusted, and only then."""

import shutil
from pathlib import Path

import pytest

from tests.alerting.world import FEED, TARGET, Gap, Hold, Jump, Rate, World

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")

CRITICAL = {"severity": "critical", "component": "exporter"}
WARNING = {"severity": "warning", "component": "exporter"}
EXPORTER_ALERTS = "Exporter.*|Api.*"


def requests(world: World, code: str, *parts: Rate | Jump | Gap) -> None:
    world.add("infobip_exporter_api_requests_total", *parts, code=code)


def refused(world: World, *up: Hold) -> None:
    """The gauges of an exporter whose polls fail where `up` says so."""
    world.watched(Hold(sum(part.minutes for part in up), 30))
    world.add("infobip_up", *up)


def test_a_healthy_exporter_alerts_nobody(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(120, 30))
    requests(world, "200", Rate(120, 2))
    world.add("infobip_exporter_lost_seconds_total", Hold(120, 0), reason="expired")
    world.never(120, EXPORTER_ALERTS)
    world.check(tmp_path)


def test_an_exporter_that_cannot_be_scraped_pages_after_five_minutes(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(30, 30), Gap(30))
    world.firing(34.5, "ExporterDown")
    world.firing(35, "ExporterDown", {**CRITICAL, **TARGET})
    world.check(tmp_path)


def test_a_restart_of_two_minutes_pages_nobody(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(30, 30), Gap(2), Hold(60, 30))
    world.never(90, EXPORTER_ALERTS)
    world.check(tmp_path)


def test_an_exporter_that_nobody_scrapes_pages(tmp_path: Path) -> None:
    world = World()
    world.firing(4.5, "ExporterDown")
    world.firing(5, "ExporterDown", {**CRITICAL, "job": "infobip"})
    world.check(tmp_path)


def test_an_exporter_behind_warns_and_pages_when_a_day_is_unread(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(30, 30), Hold(30, 700), Hold(30, 25 * 3600), Hold(30, 30))
    world.firing(34.5, "ExporterBehind")
    world.firing(35, "ExporterBehind", {**FEED, **WARNING})
    world.firing(65, "ExporterBehind", {**FEED, **WARNING}, {**FEED, **CRITICAL})
    world.firing(90, "ExporterBehind")
    world.check(tmp_path)


def test_a_backlog_below_a_fresh_frontier_is_behind_too(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(60, 30))
    world.add("infobip_exporter_backlog_seconds", Hold(30, 0), Hold(30, 7200))
    world.firing(35, "ExporterBehind", {**FEED, **WARNING})
    world.value(35, "max(ALERTS_FOR_STATE{alertname='ExporterBehind'})", ("{}", 30 * 60))
    world.check(tmp_path)


@pytest.mark.parametrize("reason", ["expired", "too_dense"])
def test_lost_time_pages_at_once(reason: str, tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(180, 30))
    world.add("infobip_exporter_lost_seconds_total", Hold(30, 0), Hold(150, 600), reason=reason)
    world.firing(29.5, "ExporterLosingData")
    world.firing(30, "ExporterLosingData", {**FEED, **CRITICAL, "reason": reason})
    world.firing(110, "ExporterLosingData", {**FEED, **CRITICAL, "reason": reason})
    world.firing(121, "ExporterLosingData")
    world.check(tmp_path)


def test_time_lost_long_ago_is_not_lost_again_by_a_restart(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(30, 30), Gap(3), Hold(60, 30))
    world.add("infobip_exporter_lost_seconds_total", Hold(30, 600), Gap(3), Hold(60, 600), reason="expired")
    world.never(93, EXPORTER_ALERTS)
    world.check(tmp_path)


@pytest.mark.parametrize("code", ["401", "403"])
def test_a_refused_key_pages_within_minutes_and_until_a_poll_succeeds(code: str, tmp_path: Path) -> None:
    world = World()
    refused(world, Hold(30, 1), Hold(60, 0), Hold(30, 1))
    requests(world, "200", Rate(30, 2), Rate(60, 0), Rate(30, 2))
    # A series is shown at zero first; asked again only every five minutes.
    requests(world, code, Gap(30), Rate(1, 0), Jump(1), Rate(59, 0.2), Rate(30, 0))
    world.firing(32.5, "ApiRefusing")
    world.firing(33, "ApiRefusing", {**FEED, **CRITICAL, "code": code})
    world.firing(89, "ApiRefusing", {**FEED, **CRITICAL, "code": code})
    world.firing(90, "ApiRefusing")
    world.check(tmp_path)


def test_polls_that_fail_otherwise_are_not_refused(tmp_path: Path) -> None:
    world = World()
    refused(world, Hold(30, 1), Hold(60, 0))
    requests(world, "500", Rate(30, 0), Rate(60, 2))
    requests(world, "401", Jump(7), Rate(90, 0))
    world.never(90, "ApiRefusing")
    world.check(tmp_path)


def test_throttling_warns_when_it_lasts(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(120, 30))
    requests(world, "200", Rate(120, 18))
    requests(world, "429", Rate(30, 0), Rate(60, 2), Rate(30, 0))  # 10 %, over 5 % from minute 37.5 on
    world.firing(47, "ApiThrottled")
    world.firing(47.5, "ApiThrottled", {**FEED, **WARNING})
    world.firing(119, "ApiThrottled")
    world.check(tmp_path)


def test_a_few_throttled_requests_warn_nobody(tmp_path: Path) -> None:
    world = World()
    world.watched(Hold(120, 30))
    requests(world, "200", Rate(120, 2))
    requests(world, "429", Rate(30, 0), Rate(90, 0.2))
    world.never(120, EXPORTER_ALERTS)
    world.check(tmp_path)
