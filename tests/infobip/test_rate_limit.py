from bisect import bisect_right
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.infobip.rate_limit import WINDOW_S, Kept, RateLimiter, boot_id, restored

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


@given(limits.filter(lambda limit: limit < 40), starts, actions, st.lists(st.floats(0, 70), max_size=30))
def test_no_sequence_of_calls_makes_more_than_the_limit_in_any_minute(
    limit: int, start: float, calls: list[tuple[str, float]], ages: list[float]
) -> None:
    made = [start - age for age in ages[:limit]]
    budget, now = RateLimiter(limit, made), start
    for action, seconds in calls:
        if action == "spend":
            now += budget.wait_s(now)
            for _ in range(min(budget.free(now), 2)):
                budget.spend(now)
                made.append(now)
        elif action == "wait":
            now += seconds
        else:
            getattr(budget, action)(now)
        assert 1 <= budget.effective <= limit
        assert (budget.free(now) == 0) == (budget.wait_s(now) > 0)
    if made:
        assert most_in_a_minute(made) <= limit


def test_the_whole_budget_may_be_spent_at_once() -> None:
    budget = RateLimiter(100)
    for _ in range(100):
        assert budget.wait_s(0.0) == 0
        budget.spend(0.0)
    assert budget.wait_s(0.0) == WINDOW_S


def test_half_of_the_budget_serves_one_poll_and_the_other_half_the_next() -> None:
    budget = RateLimiter(100)
    for poll in range(100):
        for request in range(50):
            now = poll * 30.05 + request / 25
            assert budget.wait_s(now) == 0
            budget.spend(now)


def test_what_is_free_is_what_the_last_minute_left() -> None:
    budget = RateLimiter(3)
    budget.spend(0.0)
    budget.spend(10.0)
    assert [budget.free(now) for now in (10.0, 60.0, 60.05, 70.05)] == [1, 1, 2, 3]


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


def test_after_a_429_what_was_made_counts_against_the_lowered_limit() -> None:
    budget = RateLimiter(60)
    for second in range(40):
        budget.spend(float(second))
    budget.throttled(40.0)
    assert budget.free(40.0) == 0
    assert budget.wait_s(40.0) == pytest.approx(10.0 + WINDOW_S - 40.0)


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


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RateLimiter(0)


KEPT = Kept((930.0, 970.0, 990.0), wall_s=5_000_000.0, monotonic_s=1000.0, boot_id="one")


@pytest.mark.parametrize("later_s", [0.0, 5.0, 3600.0])
@pytest.mark.parametrize("drift_s", [-0.9, 0.0, 0.9])
def test_the_same_clock_dates_the_kept_requests(later_s: float, drift_s: float) -> None:
    assert restored(KEPT, 5_000_000.0 + later_s + drift_s, 1000.0 + later_s, "one") == list(KEPT.times)


@pytest.mark.parametrize(
    ("wall_s", "monotonic_s", "boot"),
    [
        (5_000_065.0, 1005.0, "one"),
        (4_999_945.0, 1005.0, "one"),
        (5_000_060.0, 20.0, "two"),
        (5_000_005.0, 1005.0, "two"),
        (5_000_005.0, 1005.0, ""),
    ],
    ids=["set ahead, or suspended", "set back", "started anew", "another machine", "unknown"],
)
def test_requests_that_no_clock_dates_count_as_just_made(
    wall_s: float, monotonic_s: float, boot: str
) -> None:
    assert restored(KEPT, wall_s, monotonic_s, boot) == [monotonic_s] * 3


def test_systems_without_a_boot_id_are_not_taken_for_the_same() -> None:
    kept = msgspec.structs.replace(KEPT, boot_id="")
    assert restored(kept, 5_000_005.0, 1005.0, "") == [1005.0] * 3


def test_a_step_of_the_wall_clock_over_a_restart_makes_no_room_for_more_requests() -> None:
    made = [1000.0 + second / 100 for second in range(100)]
    kept = Kept(RateLimiter(100, made).times(1001.0), wall_s=5_000_000.0, monotonic_s=1001.0, boot_id="one")
    after = RateLimiter(100, restored(kept, 5_000_060.0, 1002.0, "one"))
    assert most_in_a_minute(made + spend_for(after, 1002.0, 200)) <= 100


def test_what_is_kept_survives_being_stored() -> None:
    assert msgspec.json.decode(msgspec.json.encode(KEPT), type=Kept) == KEPT


def test_the_boot_id_is_read_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("0d8b2d9c-3f9e\n")
    assert boot_id(tmp_path / "id") == "0d8b2d9c-3f9e"
    assert boot_id(tmp_path / "none") == ""
