"""Where a range is cut whose answer proved nothing."""

from infobip_exporter.model.record import Page, Records
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.range_read import Part, split
from tests.feed.recording import BEGIN_MS, row

LIMIT = 100
HOUR = TimeRange(BEGIN_MS, BEGIN_MS + 3_600_000)


def parts_after(at_ms: int) -> list[tuple[int, int]]:
    """The parts of an hour, from its begin, after a page full of messages of one millisecond."""
    rows = [row(f"m{n}", at_ms / 1000) for n in range(LIMIT)]
    parts = split(Part(HOUR), Page(Records.of(rows), LIMIT), LIMIT, HOUR.until_ms)
    return [(each.range.since_ms - BEGIN_MS, each.range.until_ms - BEGIN_MS) for each in parts]


def test_what_touches_an_oversized_millisecond_before_it_is_cut_off() -> None:
    assert parts_after(-1) == [(0, 1), (1, 3_600_000)]


def test_what_touches_an_oversized_millisecond_after_it_is_cut_off() -> None:
    assert parts_after(3_600_000) == [(0, 3_599_999), (3_599_999, 3_600_000)]


def test_an_oversized_millisecond_within_is_cut_out() -> None:
    assert parts_after(5000) == [(0, 5000), (5000, 5001), (5001, 3_600_000)]
