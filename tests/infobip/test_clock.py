"""The API's now is bounded from below and above, whatever one answer says."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.clock import REMEMBER_ANSWERS, REMEMBER_S, ApiClock

API_AHEAD_MS = 1_790_000_000_000
"""The API's clock less the monotonic one, in the worlds below."""


def api_ms(now: float) -> float:
    return API_AHEAD_MS + now * 1000


def date_at(now: float) -> int:
    """The Date header written at `now`: whole seconds, in milliseconds."""
    return int(api_ms(now)) // 1000 * 1000


def told(clock: ApiClock, *moments: float, wrong_by_s: float = 0.0) -> None:
    """Answers at these moments, each with a date that is so far off."""
    for moment in moments:
        clock.saw(date_at(moment) + round(wrong_by_s * 1000), moment, 0.1)


def clock_that_knows() -> ApiClock:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000, now=0.0)
    told(clock, 1.0)
    assert clock.known
    return clock


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0, 60),
    st.floats(-50, 50),
)
def test_the_true_moment_lies_between_the_bounds(
    answers: list[tuple[float, float, float]], later: float, skew_s: float
) -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000 + skew_s, now=0.0)
    for asked, took, written in sorted(answers):
        clock.saw(date_at(asked + took * written), asked + took, took)
    now = max(asked + took for asked, took, _ in answers) + later
    assert clock.earliest_ms(now) <= api_ms(now) + 1
    assert clock.latest_ms(now) >= api_ms(now) - 1


def test_a_date_near_our_own_clock_is_believed_at_once() -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000 + 30, now=0.0)
    told(clock, 1.0)
    assert clock.known


def test_a_date_far_from_our_own_clock_is_believed_when_three_answers_agree() -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000 + 600, now=0.0)
    for moment, known in ((1.0, False), (2.0, False), (3.0, True)):
        told(clock, moment)
        assert clock.known is known
    assert abs(clock.earliest_ms(3.0) - api_ms(3.0)) < 1100


@given(st.sampled_from([-1e6, -3600.0, 3600.0, 49 * 3600.0, 1e9]))
def test_a_wrong_first_date_is_not_believed(wrong_by_s: float) -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000, now=0.0)
    told(clock, 1.0, wrong_by_s=wrong_by_s)
    assert not clock.known
    told(clock, 2.0)
    assert abs(clock.latest_ms(2.0) - api_ms(2.0)) < 1200


@given(st.sampled_from([600.0, 48 * 3600.0 + 60, 1e9]))
def test_one_wrong_date_in_the_future_moves_neither_bound(wrong_by_s: float) -> None:
    clock = clock_that_knows()
    bounds = (clock.earliest_ms(20), clock.latest_ms(20))
    told(clock, 20.0, wrong_by_s=wrong_by_s)
    assert (clock.earliest_ms(20), clock.latest_ms(20)) == bounds


def test_one_wrong_date_in_the_past_closes_nothing_early_and_is_forgotten_with_the_next() -> None:
    clock = clock_that_knows()
    before = clock.earliest_ms(20)
    told(clock, 20.0, wrong_by_s=-600)
    assert clock.earliest_ms(20) < before
    assert clock.latest_ms(20) >= api_ms(20)
    told(clock, 21.0)
    assert clock.earliest_ms(20) == before


def test_a_clock_that_is_set_is_followed_once_three_answers_agree() -> None:
    for step_s in (-600.0, 600.0):
        clock = clock_that_knows()
        told(clock, 20.0, 21.0, 22.0, wrong_by_s=step_s)
        assert abs(clock.earliest_ms(22.0) - api_ms(22.0) - min(step_s, 0) * 1000) < 1200
        later = 22.0 + REMEMBER_S + REMEMBER_ANSWERS
        told(clock, *range(round(later) - REMEMBER_ANSWERS, round(later) + 1), wrong_by_s=step_s)
        assert abs(clock.earliest_ms(later) - api_ms(later) - step_s * 1000) < 1200
        assert abs(clock.latest_ms(later) - api_ms(later) - step_s * 1000) < 1200


@pytest.mark.parametrize("apart_s", [10.0, 50.0, 600.0])
@pytest.mark.parametrize("every_s", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("the_first_is_ahead", [False, True])
def test_where_servers_take_turns_the_one_behind_bounds_the_time_from_below(
    apart_s: float, every_s: float, *, the_first_is_ahead: bool
) -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000, now=0.0)
    rng = Random(1)
    for n in range(1000):
        ahead = the_first_is_ahead if n < 3 else rng.random() < 0.5
        told(clock, n * every_s, wrong_by_s=apart_s if ahead else 0.0)
        if n > 10:
            assert abs(clock.earliest_ms(n * every_s) - api_ms(n * every_s)) < 1200


def test_a_single_doubt_is_gone_where_answers_tell_no_time_any_more() -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000, now=0.0)
    told(clock, 1.0, wrong_by_s=7200.0)
    clock.saw(None, 1.0 + REMEMBER_S, 0.1)
    assert clock.disputed
    clock.saw(None, 2.0 + REMEMBER_S, 0.1)
    assert not clock.disputed
    assert abs(clock.earliest_ms(400) - api_ms(400)) < 10


def test_without_a_date_our_own_clock_stands_in() -> None:
    clock = ApiClock(wall_s=1000.0, now=10.0)
    clock.saw(None, 12.0, 0.1)
    assert not clock.known
    assert 1_009_998 <= clock.earliest_ms(20.0) <= 1_010_000 <= clock.latest_ms(20.0) <= 1_010_002
    assert clock.skew_s(1010.0, 20.0) is None


def test_a_time_that_was_told_long_ago_outlives_a_wrong_date() -> None:
    clock = clock_that_knows()
    later = 2 * REMEMBER_S
    told(clock, later, wrong_by_s=50_000.0)
    assert clock.known
    assert abs(clock.earliest_ms(later) - api_ms(later)) < 1200
    assert abs(clock.latest_ms(later) - api_ms(later)) < 1200


def test_answers_that_contradict_each_other_and_our_clock_leave_the_time_disputed() -> None:
    clock = ApiClock(wall_s=API_AHEAD_MS / 1000 + 600, now=0.0)
    assert not clock.disputed
    told(clock, 1.0)
    told(clock, 2.0, wrong_by_s=50_000.0)
    assert clock.disputed
    assert clock.earliest_ms(2.0) <= api_ms(2.0)
    told(clock, 3.0, 4.0, 5.0)
    assert not clock.disputed
    assert abs(clock.latest_ms(5.0) - api_ms(5.0)) < 1200


def test_the_skew_is_the_apis_clock_less_ours() -> None:
    clock = clock_that_knows()
    skew_s = clock.skew_s(api_ms(10) / 1000 - 40, 10)
    assert skew_s is not None
    assert 39 < skew_s <= 41
