from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.infobip.rate_limit import RateLimiter

limits = st.integers(min_value=1, max_value=300)
starts = st.sampled_from([0.0, 5_000_000.123, 1_700_000_000.7])


def spend_for(budget: RateLimiter, start: float, seconds: float) -> list[float]:
    """The moments of the requests of a caller that makes each as soon as it may."""
    now, made = start, []
    while now <= start + seconds:
        wait_s = budget.wait_s(now)
        if wait_s:
            now += wait_s
            assert budget.wait_s(now) == 0  # waited out, it may be made
        else:
            budget.spend(now)
            made.append(now)
    return made


def most_in_a_minute(moments: list[float]) -> int:
    moments = sorted(moments)
    return max(bisect_right(moments, moment + 60) - index for index, moment in enumerate(moments))


@settings(deadline=None)  # ten minutes of requests, an example
@given(limits, starts)
def test_the_whole_limit_can_be_used_and_never_more(limit: int, start: float) -> None:
    made = spend_for(RateLimiter(limit), start, 600)
    assert len(made) >= 0.97 * limit * 10
    assert most_in_a_minute(made) <= limit


actions = st.lists(
    st.tuples(
        st.sampled_from(["spend", "spend", "spend", "spend", "wait", "wait", "throttled", "succeeded"]),
        st.floats(min_value=0, max_value=20) | st.sampled_from([0.0, 60.0]),
    ),
    max_size=120,
)


@given(limits.filter(lambda limit: limit < 40), starts, actions, st.lists(st.floats(-70, 70), max_size=30))
def test_no_sequence_of_calls_makes_more_than_the_limit_in_any_minute(
    limit: int, start: float, calls: list[tuple[str, float]], earlier: list[float]
) -> None:
    spent = [start + moment for moment in earlier[:limit]]
    budget, now, made = RateLimiter(limit, spent), start, [min(moment, start) for moment in spent]
    for action, seconds in calls:
        if action == "spend":
            now += budget.wait_s(now)
            budget.spend(now)
            made.append(now)
        elif action == "wait":
            now += seconds
        else:
            getattr(budget, action)(now)
        assert 1 <= budget.effective <= limit
    if made:
        assert most_in_a_minute(made) <= limit


def test_a_burst_is_a_tenth_of_the_limit_and_then_requests_are_spread() -> None:
    made = spend_for(RateLimiter(100), 0.0, 50)
    assert made[:10] == [0.0] * 10
    assert {round(later - earlier, 6) for earlier, later in pairwise(made[9:])} == {0.6}


@pytest.mark.parametrize(("limit", "burst"), [(1, 1), (2, 2), (5, 2), (20, 2), (120, 12)])
def test_a_small_limit_still_has_a_burst(limit: int, burst: int) -> None:
    assert spend_for(RateLimiter(limit), 0.0, 0.01) == [0.0] * burst


def test_a_quiet_feed_never_waits() -> None:
    budget = RateLimiter(100)
    for poll in range(100):
        assert budget.wait_s(poll * 30.0) == 0
        budget.spend(poll * 30.0)


def test_requests_made_before_a_restart_count() -> None:
    before = [float(second) for second in range(0, 60, 6)]
    budget = RateLimiter(10, spent=reversed(before))
    assert budget.wait_s(59.0) == pytest.approx(60.05 - 59.0)
    assert budget.times(59.0) == tuple(before)


def test_a_burst_made_before_a_restart_is_not_made_again() -> None:
    assert RateLimiter(100, spent=[0.0] * 10).wait_s(0.1) == pytest.approx(0.5)


def test_requests_dated_after_now_count_as_made_now() -> None:
    budget = RateLimiter(2, spent=[5000.0, 6000.0])
    assert budget.wait_s(100.0) == pytest.approx(60.05)
    assert budget.times(100.0) == (100.0, 100.0)


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    budget = RateLimiter(100, spent=[0.0, 30.0])
    assert budget.times(60.0) == (0.0, 30.0)
    assert budget.times(60.06) == (30.0,)


def test_a_429_halves_the_limit_once_for_a_burst_of_them() -> None:
    budget = RateLimiter(100)
    budget.throttled(0.0)
    budget.throttled(9.9)
    assert budget.effective == 50
    budget.throttled(10.0)
    assert budget.effective == 25


def test_a_429_ends_the_burst_and_widens_the_spacing() -> None:
    budget = RateLimiter(60)
    budget.throttled(0.0)
    assert budget.wait_s(0.0) == pytest.approx(2.0)


def test_the_limit_never_falls_below_one() -> None:
    budget = RateLimiter(3)
    for second in range(0, 100, 10):
        budget.throttled(float(second))
    assert budget.effective == 1
    assert budget.wait_s(200.0) == 0


def test_a_throttled_budget_is_kept_within_its_lowered_limit() -> None:
    budget = RateLimiter(40)
    budget.throttled(0.0)
    assert most_in_a_minute(spend_for(budget, 0.0, 300)) <= 20


def test_success_wins_back_a_tenth_of_the_limit_a_minute() -> None:
    budget = RateLimiter(100)
    budget.throttled(0.0)
    for second in range(1, 61):
        budget.succeeded(float(second))
    assert budget.effective == pytest.approx(60)
    for second in range(61, 601):
        budget.succeeded(float(second))
    assert budget.effective == 100


def test_silence_wins_back_no_more_than_a_minute_of_success() -> None:
    budget = RateLimiter(100)
    budget.throttled(0.0)
    budget.succeeded(36_000.0)
    assert budget.effective == pytest.approx(60)


def test_a_later_429_restarts_the_recovery() -> None:
    budget = RateLimiter(100)
    budget.throttled(0.0)
    budget.throttled(9.0)
    budget.succeeded(9.0)
    assert budget.effective == 50


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    budget = RateLimiter(2)
    budget.spend(100.0)
    budget.spend(100.0)
    assert budget.wait_s(50.0) == pytest.approx(60.05)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RateLimiter(0)
