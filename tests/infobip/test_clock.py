"""The API's now is bounded from below and above, whatever one answer says; contradictions leave nothing certain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.clock import (
    AGREED_BY,
    CONFIRMED_ALONE_AFTER_S,
    CONFIRMED_ALONE_BY,
    CONFIRMED_BY,
    RECENT_ANSWERS,
    RECENT_S,
    ApiClock,
)

API_AHEAD_MS = 1_790_000_000_000
"""The API's clock less the monotonic one, in the worlds below."""


def api_ms(now: float) -> float:
    return API_AHEAD_MS + now * 1000


def wall_s(now: float) -> float:
    """A clock of ours that is right."""
    return api_ms(now) / 1000


def date_at(now: float) -> int:
    """The Date header written at `now`: whole seconds, in milliseconds."""
    return int(api_ms(now)) // 1000 * 1000


def told(clock: ApiClock, *moments: float, wrong_by_s: float = 0.0, ours_wrong_by_s: float = 0.0) -> None:
    """Answers at these moments, each with a date that is so far off, and our own clock as well."""
    for moment in moments:
        clock.saw(
            date_at(moment) + round(wrong_by_s * 1000),
            moment - 0.1,
            moment,
            wall_s(moment) + ours_wrong_by_s,
        )


def clock_that_knows() -> ApiClock:
    clock = ApiClock()
    told(clock, 1.0)
    assert clock.known
    return clock


def is_near(clock: ApiClock, now: float, wrong_by_s: float = 0.0) -> bool:
    bounds = clock.bounds(now, wall_s(now))
    true_ms = api_ms(now) + wrong_by_s * 1000
    return abs(bounds.earliest_ms - true_ms) < 1200 and abs(bounds.latest_ms - true_ms) < 1200


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0, 60),
    st.floats(-50, 50),
)
def test_the_true_moment_lies_between_the_bounds(
    answers: list[tuple[float, float, float]], later: float, skew_s: float
) -> None:
    clock = ApiClock()
    for asked, took, written in sorted(answers):
        received = asked + took
        clock.saw(date_at(asked + took * written), asked, received, wall_s(received) + skew_s)
    now = max(asked + took for asked, took, _ in answers) + later
    bounds = clock.bounds(now, wall_s(now) + skew_s)
    assert bounds.earliest_ms <= api_ms(now) + 1
    assert bounds.latest_ms >= api_ms(now) - 1
    assert bounds.certain


@given(st.sampled_from([-1e6, -3600.0, 3600.0, 49 * 3600.0, 1e9]))
def test_a_wrong_first_date_is_not_believed(wrong_by_s: float) -> None:
    clock = ApiClock()
    told(clock, 1.0, wrong_by_s=wrong_by_s)
    assert not clock.known
    assert not clock.bounds(1.0, wall_s(1.0)).certain
    told(clock, *range(2, 2 + AGREED_BY))
    assert clock.known
    assert is_near(clock, 8.0)


def test_where_our_own_clock_is_wrong_the_dates_are_believed_when_they_agree_for_half_an_hour() -> None:
    clock = ApiClock()
    every_s = CONFIRMED_ALONE_AFTER_S / (CONFIRMED_ALONE_BY - 1) + 0.1
    moments = [1.0 + n * every_s for n in range(CONFIRMED_ALONE_BY)]
    told(clock, *moments[:-1], ours_wrong_by_s=7200)
    assert not clock.known
    told(clock, moments[-1], ours_wrong_by_s=7200)
    assert clock.known


def test_a_difference_of_the_clocks_that_an_earlier_process_knew_is_believed_at_once() -> None:
    clock = ApiClock(skew_s=7200.0)
    told(clock, 1.0, ours_wrong_by_s=-7200)
    assert clock.known


@given(st.sampled_from([-1e6, -600.0, 600.0, 48 * 3600.0 + 60, 1e9]))
def test_after_a_wrong_date_nothing_is_certain_until_it_is_outnumbered(wrong_by_s: float) -> None:
    clock = clock_that_knows()
    told(clock, 20.0, wrong_by_s=wrong_by_s)
    bounds = clock.bounds(20.0, wall_s(20.0))
    assert not bounds.certain
    assert bounds.earliest_ms <= api_ms(20.0) <= bounds.latest_ms
    told(clock, *range(21, 21 + AGREED_BY))
    assert clock.bounds(27.0, wall_s(27.0)).certain
    assert is_near(clock, 27.0)


@pytest.mark.parametrize("step_s", [-7200.0, 48.1 * 3600])
def test_a_new_time_that_our_own_clock_confirms_is_followed(step_s: float) -> None:
    # This machine slept, or the API's clock was wrong before: the monotonic clock alone knows nothing of it.
    clock = clock_that_knows()
    moments = [20.0 + n for n in range(CONFIRMED_BY)]
    told(clock, *moments, wrong_by_s=step_s, ours_wrong_by_s=step_s)
    assert clock.known
    assert is_near(clock, moments[-1], step_s)


def test_a_burst_of_wrong_dates_moves_nothing_for_good() -> None:
    clock = clock_that_knows()
    told(clock, *range(2, 12))
    told(clock, *range(12, 12 + CONFIRMED_ALONE_BY), wrong_by_s=5 * 86_400)
    assert not clock.known
    told(clock, *range(40, 40 + AGREED_BY))
    assert clock.known
    assert is_near(clock, 45.0)


@pytest.mark.parametrize("apart_s", [10.0, 50.0])
@pytest.mark.parametrize("every_s", [1.0, 30.0, 300.0])
def test_servers_that_differ_by_less_than_a_minute_widen_the_bounds_and_are_believed(
    apart_s: float, every_s: float
) -> None:
    clock = ApiClock()
    for n in range(200):
        now = n * every_s
        told(clock, now, wrong_by_s=apart_s if n % 2 else 0.0)
        assert clock.known
        bounds = clock.bounds(now, wall_s(now))
        assert bounds.certain
        if n > RECENT_ANSWERS:
            assert bounds.earliest_ms <= api_ms(now) + 1000
            assert bounds.latest_ms >= api_ms(now) + apart_s * 1000 - 1000


def test_what_was_told_long_ago_is_forgotten_but_for_the_last_ten() -> None:
    clock = ApiClock()
    told(clock, 1.0, wrong_by_s=30.0)
    told(clock, *(RECENT_S + n for n in range(2, 2 + RECENT_ANSWERS)))
    assert is_near(clock, RECENT_S + 20)


def test_without_a_date_our_own_clock_stands_in() -> None:
    clock = ApiClock(skew_s=5.0)
    clock.saw(None, 11.9, 12.0, 1002.0)
    assert not clock.known
    assert clock.undated == 1
    earliest_ms, latest_ms, certain = clock.bounds(20.0, 1010.0)
    assert earliest_ms <= 1_015_000 <= latest_ms
    assert latest_ms - earliest_ms <= 2
    assert certain
    assert clock.skew_s(20.0, 1010.0) is None


def test_the_skew_is_the_apis_clock_less_ours() -> None:
    skew_s = clock_that_knows().skew_s(10, wall_s(10) - 40)
    assert skew_s is not None
    assert 39 < skew_s <= 41
