"""What is expected of traffic and of settling, from what was counted before."""

from decimal import Decimal

import pytest

from infobip_exporter.feed.volume import Volume
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, Series
from infobip_exporter.reading.spans import Span, SpanSet

MINUTE_MS = 60_000


def settled(**by_bound_s: int) -> Volume:
    """Messages that took at most so long, by bucket: `s120=5` is five between the bound before 120 s and 120 s."""
    bounds = [f"s{bound:g}" for bound in catalog.DELIVERY_DURATION.buckets]
    counts = tuple(by_bound_s.get(bound, 0) for bound in (*bounds, "inf"))
    volume = Volume()
    volume.learn_settling(
        {Series(catalog.DELIVERY_DURATION.name, ("DELIVERED",)): Histogram(counts, Decimal(0))}
    )
    return volume


def test_without_experience_everything_is_taken_to_settle_at_once() -> None:
    volume = Volume()
    volume.learn_settling({})
    assert volume.settled_after_ms == 0
    assert volume.unsettled_share(0) == 0.0


def test_the_share_not_settled_falls_with_the_age() -> None:
    volume = settled(s60=50, s120=50)
    ages_ms = (0, 30_000, 45_000, 60_000, 90_000, 120_000, 10**9)
    expected = [1.0, 1.0, 0.707, 0.5, 0.05, 0.0, 0.0]
    assert [volume.unsettled_share(age_ms) for age_ms in ages_ms] == pytest.approx(expected, abs=0.001)
    assert settled(s60=90, inf=10).unsettled_share(10**9) == pytest.approx(0.1)


def test_nearly_all_have_settled_at_the_bound_that_few_pass() -> None:
    assert settled(s60=995, s7200=5).settled_after_ms == 60_000
    assert settled(s60=990, s7200=10).settled_after_ms == 7_200_000
    assert settled(s60=90, inf=10).settled_after_ms == 48 * 3_600_000


def test_rows_are_counted_where_time_was_read_and_guessed_where_not() -> None:
    volume = Volume()
    by_minute = dict.fromkeys(range(100, 110), 60)
    unread = SpanSet([(110 * MINUTE_MS, 112 * MINUTE_MS)])
    volume.learn(by_minute, Progress(frontier_ms=112 * MINUTE_MS, unread=unread))
    assert volume.rows_per_ms == 60 / MINUTE_MS
    assert volume.rows_in(Span(105 * MINUTE_MS, 107 * MINUTE_MS)) == 120
    assert volume.rows_in(Span(110 * MINUTE_MS, 111 * MINUTE_MS)) == 60
    assert volume.since_with(110 * MINUTE_MS, 150) == 107.5 * MINUTE_MS
    assert volume.since_with(112 * MINUTE_MS, 30) == 110 * MINUTE_MS
    assert volume.since_with(112 * MINUTE_MS, 150) == 109.5 * MINUTE_MS
    assert volume.since_with(112 * MINUTE_MS, 10_000) == 109 * MINUTE_MS - LOG_KEEPS_MS


def test_what_was_counted_in_a_minute_that_is_partly_read_is_spread_over_that_part() -> None:
    volume = Volume()
    half = 110 * MINUTE_MS + MINUTE_MS // 2
    volume.learn({109: 60, 110: 30}, Progress(frontier_ms=half))
    assert volume.rows_in(Span(110 * MINUTE_MS, half)) == 30
    assert volume.rows_in(Span(110 * MINUTE_MS, half - MINUTE_MS // 4)) == 15
    assert volume.since_with(half, 15) == 110 * MINUTE_MS + MINUTE_MS // 4
    assert volume.since_with(half, 60) == 109.5 * MINUTE_MS
    unread = SpanSet([(110 * MINUTE_MS + 15_000, half)])
    volume.learn({109: 60, 110: 15}, Progress(frontier_ms=half, unread=unread))
    assert volume.rows_in(Span(110 * MINUTE_MS, half)) == 30


def test_traffic_is_that_of_the_last_minutes_that_were_read_however_little_was_read_last() -> None:
    volume = Volume()
    by_minute = {**dict.fromkeys(range(100, 120), 60), 200: 30}
    just_read = 200 * MINUTE_MS + MINUTE_MS // 2
    frontier_ms = 230 * MINUTE_MS
    unread = SpanSet([(120 * MINUTE_MS, just_read), (201 * MINUTE_MS, frontier_ms)])
    volume.learn(by_minute, Progress(frontier_ms=frontier_ms, unread=unread))
    assert volume.rows_per_ms == 60 / MINUTE_MS
    volume.learn({}, Progress(frontier_ms=frontier_ms))
    assert volume.rows_per_ms == 0.0
