"""Traffic: averaged where chance explains the difference, else the last number."""

import pytest

from infobip_exporter.planning.traffic import FailureTraffic, Traffic


def test_the_first_number_counts() -> None:
    assert Traffic().observed(3000, 30).rows_per_s == 100


def test_chance_is_averaged() -> None:
    assert Traffic(100).observed(3100, 30).rows_per_s == pytest.approx(101.67, abs=0.01)


@pytest.mark.parametrize("rows", [30_000, 300])
def test_a_burst_and_its_end_are_followed_at_once(rows: int) -> None:
    assert Traffic(100).observed(rows, 30).rows_per_s == rows / 30


def test_a_head_that_did_not_advance_tells_nothing() -> None:
    assert Traffic(100).observed(50, 0) == Traffic(100)


def test_failures_fall_slowly() -> None:
    assert FailureTraffic(2).observed(0, 600, full=False).rows_per_s == pytest.approx(1.94)


def test_a_full_page_of_failures_means_more() -> None:
    assert FailureTraffic(2).observed(1000, 500, full=True).rows_per_s == 3
