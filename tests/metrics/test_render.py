"""The metrics page says what the snapshots say: read back with prometheus_client's own parsers and with promtool."""

import math
import platform
import shutil
import subprocess
from collections.abc import Iterable
from decimal import Decimal
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import FAMILIES, labels_of
from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.render import ALWAYS_THERE, Feed, Renderer
from infobip_exporter.metrics.snapshot import FeedSnapshot, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.model.series import Histogram, Series

NOW = Moment(1_700_000_000.0, 100.0)
PROCESS = Process()
SENT = Series.of("infobip_messages_sent_total", entity_id="shop", application_id="web")
DELIVERED = Series.of("infobip_delivery_duration_seconds", general_status="DELIVERED")
BUCKETS = len(catalog.DELIVERY_DURATION.buckets) + 1

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def released(snapshot: FeedSnapshot) -> ZeroStart:
    series = (*snapshot.counters, *snapshot.histograms, *ALWAYS_THERE)
    return ZeroStart(60, series)


def rendered(*snapshots: FeedSnapshot, open_metrics: bool = False, reloaded: Reloaded | None = None) -> str:
    feeds = [Feed(snapshot, released(snapshot)) for snapshot in snapshots]
    page = Renderer("1.2.3", PROCESS).render(feeds, NOW, open_metrics=open_metrics, reloaded=reloaded)
    return page.body.decode()


def samples(page: str, *, open_metrics: bool = False) -> Samples:
    found: Samples = {}
    for family in families(page, open_metrics=open_metrics):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = float(sample.value)
    return found


def families(page: str, *, open_metrics: bool) -> Iterable[Metric]:
    return (parse_open_metrics if open_metrics else parse_text)(page)


def key(family: str, feed: FeedSnapshot, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return family, frozenset({"account": feed.account, "channel": feed.channel, **labels}.items())


# --- every snapshot, read back ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "\\", '"', "\n", "\\n", 'a"b\\c\nd', "\r", '{x="y"} 1', "é", "🦊", "\u2028"]
)
counts = st.integers(0, 2**70)
prices = st.decimals(min_value=0, max_value=10**12, allow_nan=False, places=8) | st.sampled_from(
    [Decimal("1E+3"), Decimal("1E-12"), Decimal("0E-8"), Decimal("0.00787679")]
)
moments_ms = st.none() | st.integers(0, 2_000_000_000_000)
counter_families = [family for family in FAMILIES if family.type == "counter"]
histogram_families = [family for family in FAMILIES if family.type == "histogram"]


@st.composite
def counter(draw: st.DrawFn) -> tuple[Series, int | Decimal]:
    family = draw(st.sampled_from(counter_families))
    labels = tuple((name, draw(texts)) for name in labels_of(family))
    return Series(family.name, labels), draw(prices if family in {catalog.COST, catalog.LOST} else counts)


@st.composite
def histogram(draw: st.DrawFn) -> tuple[Series, Histogram]:
    family = draw(st.sampled_from(histogram_families))
    labels = tuple((name, draw(texts)) for name in labels_of(family))
    in_buckets = tuple(draw(st.integers(0, 1000)) for _ in range(len(family.buckets) + 1))
    return Series(family.name, labels), Histogram(in_buckets, draw(prices))


@st.composite
def in_flight(draw: st.DrawFn) -> Series:
    return Series(catalog.IN_FLIGHT.name, tuple((name, draw(texts)) for name in labels_of(catalog.IN_FLIGHT)))


@st.composite
def snapshots(draw: st.DrawFn, channel: str) -> FeedSnapshot:
    return FeedSnapshot(
        account=draw(texts),
        channel=channel,
        counters=dict(draw(st.lists(counter(), max_size=8))),
        histograms=dict(draw(st.lists(histogram(), max_size=3))),
        in_flight=draw(st.dictionaries(in_flight(), counts, max_size=3)),
        oldest_in_flight_ms=draw(moments_ms),
        last_sent_ms=draw(moments_ms),
        up=draw(st.none() | st.booleans()),
        last_success_s=draw(st.none() | st.floats(0, 2e9)),
        final_age_s=draw(st.none() | st.floats(0, 21_600)),
        verified_up_to_ms=draw(moments_ms),
        read_up_to_ms=draw(moments_ms),
        backlog_ms=draw(st.integers(0, 172_800_000)),
        requests_per_minute=draw(st.floats(0, 120)),
        clock_skew_s=draw(st.none() | st.floats(-1e6, 1e6)),
    )


def expected(feed: FeedSnapshot) -> Samples:
    """What the page must say of `feed`, put down without a line of the code under test."""
    found: Samples = {}
    label_names = {family.name: labels_of(family) for family in FAMILIES}
    for series in ALWAYS_THERE:
        found[key(series.family, feed, **dict(series.labels))] = 0.0
    for series, value in feed.counters.items():
        assert [name for name, _ in series.labels] == list(label_names[series.family])
        labels = dict(series.labels)
        found[key(series.family, feed, **labels)] = float(value)
    for series, value in feed.histograms.items():
        family = next(family for family in FAMILIES if family.name == series.family)
        labels = dict(series.labels)
        bounds = [*map(str, map(float, family.buckets)), "+Inf"]
        for bound, count in zip(bounds, accumulate(value.counts), strict=True):
            found[key(f"{series.family}_bucket", feed, **labels, le=bound)] = count
        found[key(f"{series.family}_sum", feed, **labels)] = float(value.sum_s)
        found[key(f"{series.family}_count", feed, **labels)] = sum(value.counts)
    for series, count in feed.in_flight.items():
        found[key("infobip_messages_in_flight", feed, **dict(series.labels))] = float(count)
    gauges = {
        "infobip_oldest_in_flight_timestamp_seconds": feed.oldest_in_flight_ms
        and feed.oldest_in_flight_ms / 1000,
        "infobip_last_message_sent_timestamp_seconds": feed.last_sent_ms and feed.last_sent_ms / 1000,
        "infobip_up": feed.up,
        "infobip_exporter_last_success_timestamp_seconds": feed.last_success_s,
        "infobip_exporter_backlog_seconds": feed.backlog_ms / 1000,
        "infobip_exporter_api_requests_per_minute_limit": feed.requests_per_minute,
        "infobip_exporter_clock_skew_seconds": feed.clock_skew_s,
        "infobip_exporter_final_age_seconds": feed.final_age_s,
        "infobip_exporter_audit_verified_timestamp_seconds": feed.verified_up_to_ms
        and feed.verified_up_to_ms / 1000,
        "infobip_exporter_feed_info": 1,
    }
    if feed.read_up_to_ms is not None:
        lag = NOW.wall_s + (feed.clock_skew_s or 0) - feed.read_up_to_ms / 1000
        gauges["infobip_exporter_lag_seconds"] = max(0, lag)
    found.update({key(name, feed): float(value) for name, value in gauges.items() if value is not None})
    return found


@pytest.mark.parametrize("open_metrics", [False, True])
@given(first=snapshots("instagram"), second=snapshots("sms"))
@settings(max_examples=150, deadline=None)
def test_the_page_read_back_is_the_snapshots(
    first: FeedSnapshot, second: FeedSnapshot, open_metrics: bool
) -> None:
    page = rendered(first, second, open_metrics=open_metrics)
    ours = {
        each: value
        for each, value in samples(page, open_metrics=open_metrics).items()
        if each[0].startswith("infobip_") and "account" in dict(each[1])
    }
    assert ours == expected(first) | expected(second)


@given(steps=st.lists(snapshots("instagram"), min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_renderer_that_remembers_writes_the_same_as_a_fresh_one(steps: list[FeedSnapshot]) -> None:
    renderer = Renderer("1.2.3", PROCESS)
    for step in steps:
        remembered = renderer.render([Feed(step, released(step))], NOW).body.decode()
        assert remembered == rendered(step)


# --- the form of the page ---


def lines_of(page: str, start: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(start)]


def test_numbers_are_exact() -> None:
    cost = Series.of(
        "infobip_cost_total", currency="EUR", general_status="DELIVERED", entity_id="shop", application_id=""
    )
    lost = Series.of("infobip_exporter_lost_seconds_total", reason="expired")
    feed = FeedSnapshot(
        "main",
        "instagram",
        counters={cost: Decimal("12345678901234567890.00787679"), lost: Decimal("1E-9"), SENT: 2**60 + 1},
        last_sent_ms=1_675_293_303_379,
    )
    page = rendered(feed)
    assert lines_of(page, "infobip_cost_total")[0].endswith(" 12345678901234567890.00787679")
    assert [line.split()[-1] for line in lines_of(page, "infobip_exporter_lost") if "expired" in line] == [
        "0.000000001"
    ]
    assert lines_of(page, "infobip_messages_sent_total")[0].endswith(" 1152921504606846977")
    assert lines_of(page, "infobip_last_message_sent")[0].endswith(" 1.675293303379e+09")


@pytest.mark.parametrize(
    ("value", "text"),
    [(Decimal("1E+1000000"), "+Inf"), (Decimal("1E+60"), "1e+060"), (Decimal("1E-1000000"), "0.0")],
)
def test_a_number_out_of_all_reason_neither_breaks_nor_bloats_the_page(value: Decimal, text: str) -> None:
    cost = Series.of(
        "infobip_cost_total", currency="EUR", general_status="DELIVERED", entity_id="", application_id=""
    )
    page = rendered(FeedSnapshot("main", "instagram", counters={cost: value}))
    assert math.isclose(float(lines_of(page, "infobip_cost_total")[0].split()[-1]), float(text))
    assert len(page) < 20_000


def test_a_label_without_a_value_is_left_out_as_prometheus_takes_it() -> None:
    series = Series.of("infobip_messages_sent_total", entity_id="", application_id="")
    page = rendered(FeedSnapshot("main", "instagram", counters={series: 1}))
    assert 'infobip_messages_sent_total{account="main",channel="instagram"} 1\n' in page


@pytest.mark.parametrize("open_metrics", [False, True])
def test_families_come_once_in_the_catalogues_order_and_series_sorted(open_metrics: bool) -> None:
    counters = {
        Series.of("infobip_messages_sent_total", entity_id=entity, application_id=""): 1 for entity in "cab"
    }
    one = FeedSnapshot("main", "sms", counters=counters, up=True, read_up_to_ms=0)
    page = rendered(one, FeedSnapshot("main", "viber", counters=counters), open_metrics=open_metrics)
    suffix = "_total" if open_metrics else ""
    order = [family.name.removesuffix(suffix) for family in FAMILIES]
    named = [line.split()[2] for line in lines_of(page, "# TYPE infobip_")]
    assert named == sorted(named, key=order.index)
    assert named == [line.split()[2] for line in lines_of(page, "# HELP infobip_")]
    sent = [line.split('"')[3:6:2] for line in lines_of(page, "infobip_messages_sent_total")]
    assert sent == [[channel, entity] for channel in ("sms", "viber") for entity in "abc"]


def test_a_gauge_without_a_value_is_left_out() -> None:
    page = rendered(FeedSnapshot("main", "instagram"))
    for name in ("infobip_up", "infobip_exporter_lag_seconds", "infobip_last_message_sent_timestamp_seconds"):
        assert name not in page


def test_lag_goes_by_the_apis_clock_and_is_never_negative() -> None:
    def lag(skew_s: float | None) -> float:
        feed = FeedSnapshot("main", "sms", read_up_to_ms=1_699_999_990_000, clock_skew_s=skew_s)
        return samples(rendered(feed))[key("infobip_exporter_lag_seconds", feed)]

    assert [lag(None), lag(600), lag(-600)] == [10, 610, 0]


def test_the_build_is_told_once_and_the_process_too() -> None:
    page = rendered(FeedSnapshot("a", "sms"), FeedSnapshot("b", "sms"))
    build = f'infobip_exporter_build_info{{version="1.2.3",python_version="{platform.python_version()}"}} 1'
    assert lines_of(page, "infobip_exporter_build_info") == [build]
    for name in (
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "python_info{",
        "python_gc_",
    ):
        assert lines_of(page, name)


def test_open_metrics_ends_with_its_end_and_text_has_none() -> None:
    feed = FeedSnapshot("a", "sms")
    assert rendered(feed, open_metrics=True).endswith("\n# EOF\n")
    assert "# EOF" not in rendered(feed)
    assert "_created" not in rendered(feed, open_metrics=True)


def test_a_feed_that_is_still_there_is_remembered() -> None:
    renderer = Renderer("1", PROCESS)
    feed = FeedSnapshot("main", "sms", counters={SENT: 1})
    renderer.render([Feed(feed, released(feed))], NOW)
    remembered = renderer._feeds["main", "sms"]
    renderer.render([Feed(feed, released(feed))], NOW)
    assert renderer._feeds["main", "sms"] is remembered


def test_a_feed_that_is_gone_is_forgotten() -> None:
    renderer = Renderer("1", PROCESS)
    feed = FeedSnapshot("gone", "sms", counters={SENT: 1})
    renderer.render([Feed(feed, released(feed))], NOW)
    assert b"gone" not in renderer.render([], NOW).body
    assert not renderer._feeds


def test_a_series_that_is_gone_is_forgotten() -> None:
    renderer = Renderer("1", PROCESS)
    a, b = (
        Series.of("infobip_messages_in_flight", general_status="PENDING", entity_id=entity, application_id="")
        for entity in "ab"
    )
    for in_flight in ({a: 1, b: 2}, {b: 3}):
        feed = FeedSnapshot("main", "sms", in_flight=in_flight)
        page = renderer.render([Feed(feed, released(feed))], NOW).body.decode()
    assert [line[-2:] for line in lines_of(page, "infobip_messages_in_flight")] == [" 3"]
    assert len(renderer._feeds["main", "sms"]._in_flight._known) == 1


# --- zero starts ---


def test_new_series_are_shown_at_zero_and_then_for_real() -> None:
    observed = Histogram((3,) * BUCKETS, Decimal("7.5"))
    feed = FeedSnapshot("main", "sms", counters={SENT: 5}, histograms={DELIVERED: observed})
    zero_start = ZeroStart(60, [])
    renderer = Renderer("1", PROCESS)

    def scrape(at_s: float) -> tuple[Samples, set[Series]]:
        now = Moment(NOW.wall_s + at_s, NOW.monotonic_s + at_s)
        page = renderer.render([Feed(feed, zero_start)], now)
        page.was_answered(now)
        zero_start.saved(zero_start.unsaved(now))
        return samples(page.body.decode()), set(page.zeros[0][1])

    first, zeros = scrape(0)
    assert zeros == {SENT, DELIVERED, *ALWAYS_THERE}
    assert first[key(SENT.family, feed, entity_id="shop", application_id="web")] == 0
    histogram_lines = {name: value for name, value in first.items() if name[0].startswith(DELIVERED.family)}
    assert len(histogram_lines) == BUCKETS + 2
    assert set(histogram_lines.values()) == {0}
    scrape(59)
    second, zeros = scrape(60)
    assert zeros == set()
    assert second == samples(
        renderer.render([Feed(feed, released(feed))], Moment(NOW.wall_s + 60, 0)).body.decode()
    )


def test_a_page_nobody_got_begins_no_hold() -> None:
    feed = FeedSnapshot("main", "sms", counters={SENT: 5})
    zero_start = ZeroStart(60, [])
    Renderer("1", PROCESS).render([Feed(feed, zero_start)], NOW)
    assert zero_start.unsaved(Moment(NOW.wall_s + 59, NOW.monotonic_s + 59)) == set()


def test_only_what_a_page_shows_counts_as_shown() -> None:
    zero_start = ZeroStart(60, [])
    zero_start.add([SENT])
    page = Renderer("1", PROCESS).render([Feed(FeedSnapshot("main", "sms"), zero_start)], NOW)
    page.was_answered(NOW)
    assert SENT not in zero_start.unsaved(NOW)


def test_known_reasons_are_there_before_anything_was_counted() -> None:
    feed = FeedSnapshot("main", "sms", counters={ALWAYS_THERE[0]: 4})
    found = samples(rendered(feed))
    values = [found[key(series.family, feed, **dict(series.labels))] for series in ALWAYS_THERE]
    assert values == [4, *[0] * (len(ALWAYS_THERE) - 1)]


def test_a_series_in_flight_is_shown_at_zero_as_well() -> None:
    labels = {"general_status": "PENDING", "entity_id": "shop", "application_id": "web"}
    series = Series.of("infobip_messages_in_flight", **labels)
    feed = FeedSnapshot("main", "sms", in_flight={series: 0})
    assert samples(rendered(feed))[key(series.family, feed, **labels)] == 0


def test_buckets_never_fall() -> None:
    histogram = Histogram(tuple(range(BUCKETS)), Decimal(1))
    page = rendered(FeedSnapshot("main", "sms", histograms={DELIVERED: histogram}))
    buckets = [int(line.split()[-1]) for line in lines_of(page, DELIVERED.family + "_bucket")]
    assert len(buckets) == BUCKETS
    assert all(lower <= upper for lower, upper in pairwise(buckets))


# --- what others say of it ---


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    counters = {
        Series(family.name, tuple((name, 'a"\\\n') for name in labels_of(family))): 1
        for family in counter_families
    }
    histograms = {
        Series(family.name, tuple((name, "X") for name in labels_of(family))): Histogram(
            (1,) * (len(family.buckets) + 1), Decimal(1)
        )
        for family in histogram_families
    }
    in_flight = {
        Series(catalog.IN_FLIGHT.name, tuple((name, "x") for name in labels_of(catalog.IN_FLIGHT))): 1
    }
    feed = FeedSnapshot(
        "main",
        "instagram",
        counters,
        histograms,
        in_flight,
        oldest_in_flight_ms=1,
        last_sent_ms=1,
        up=True,
        last_success_s=1.0,
        read_up_to_ms=1,
        clock_skew_s=1.0,
        final_age_s=3600.0,
        verified_up_to_ms=1,
    )
    page = rendered(feed, reloaded=Reloaded(successful=True, success_s=1.0))
    assert [line.split()[2] for line in lines_of(page, "# TYPE infobip")] == [
        family.name for family in FAMILIES
    ]
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False, timeout=30
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
