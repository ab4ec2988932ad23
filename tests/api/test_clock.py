"""The API's now is bounded from below and above, whatever one answer says."""

from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.api.clock import REMEMBER_S, ApiClock

API_AHEAD_MS = 1_790_000_000_000
"""The API's clock less the monotonic one, in the worlds below."""


def api_ms(now: float) -> float:
    return API_AHEAD_MS + now * 1000


def date_at(now: float) -> int:
    """The Date header written at `now`: whole seconds, in milliseconds."""
    return int(api_ms(now)) // 1000 * 1000


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 9), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0, 60),
)
def test_the_true_moment_lies_between_the_bounds(
    answers: list[tuple[float, float, float]], later: float
) -> None:
    clock = ApiClock(wall_s=5.0, now=0.0)
    for asked, took, written in sorted(answers):
        clock.saw(date_at(asked + took * written), asked + took, took)
    now = max(asked + took for asked, took, _ in answers) + later
    assert clock.earliest_ms(now) <= api_ms(now) + 1
    assert clock.latest_ms(now) >= api_ms(now) - 1


def test_one_wrong_date_in_the_future_moves_nothing_forward() -> None:
    clock = ApiClock(wall_s=0.0, now=0.0)
    clock.saw(date_at(10), 10, 0.1)
    before = clock.earliest_ms(20)
    clock.saw(date_at(10) + 600_000, 20, 0.1)
    assert clock.earliest_ms(20) == before


def test_a_clock_set_back_is_followed_at_once_and_one_set_forward_after_a_while() -> None:
    clock = ApiClock(wall_s=0.0, now=0.0)
    clock.saw(date_at(10), 10, 0.0)
    clock.saw(date_at(20) - 600_000, 20, 0.0)
    assert clock.earliest_ms(20) == date_at(20) - 600_000
    later = 20 + REMEMBER_S + 1
    clock.saw(date_at(later), later, 0.0)
    assert clock.earliest_ms(later) == date_at(later)


def test_without_a_date_our_own_clock_stands_in() -> None:
    clock = ApiClock(wall_s=1000.0, now=10.0)
    clock.saw(None, 12.0, 0.1)
    assert not clock.known
    assert clock.earliest_ms(20.0) == clock.latest_ms(20.0) == 1_010_000
    assert clock.skew_s(1010.0, 20.0) is None


def test_the_skew_is_the_apis_clock_less_ours() -> None:
    clock = ApiClock(wall_s=0.0, now=0.0)
    clock.saw(date_at(10), 10, 0.0)
    ours = api_ms(10) / 1000 - 600
    skew_s = clock.skew_s(ours, 10)
    assert skew_s is not None
    assert 600 <= skew_s <= 601
