import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.backoff import Backoff


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


class Lowest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


def test_the_longest_wait_doubles_up_to_the_cap() -> None:
    backoff = Backoff(Highest())
    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_wait_is_drawn_from_nothing_to_the_longest() -> None:
    backoff = Backoff(random.Random(1), base_s=100, cap_s=100)
    waits = [backoff.next_s() for _ in range(1000)]
    assert min(waits) < 2
    assert max(waits) > 98


def test_after_a_success_it_starts_again() -> None:
    backoff = Backoff(Highest())
    backoff.next_s()
    backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1


def test_a_refused_key_is_tried_slowly_from_the_first_time() -> None:
    lowest = Backoff(Lowest(), base_s=60, cap_s=300, floor_s=30)
    highest = Backoff(Highest(), base_s=60, cap_s=300, floor_s=30)
    assert [lowest.next_s() for _ in range(3)] == [30, 30, 30]
    assert [highest.next_s() for _ in range(5)] == [60, 120, 240, 300, 300]


@pytest.mark.parametrize(("rng", "wait_s"), [(Lowest(), 20.0), (Highest(), 21.0)])
def test_what_the_api_asks_for_is_the_least_with_a_little_spread(rng: random.Random, wait_s: float) -> None:
    assert Backoff(rng).next_s(20.0) == wait_s


def test_a_short_retry_after_does_not_shorten_the_wait() -> None:
    backoff = Backoff(Highest(), base_s=8)
    assert backoff.next_s(0.0) == 8
    assert backoff.next_s(3.0) == 16


@given(st.integers(), st.none() | st.floats(min_value=0, max_value=3600), st.integers(0, 200))
def test_no_wait_is_below_what_was_asked_nor_far_above_the_cap(
    seed: int, retry_after_s: float | None, failures: int
) -> None:
    backoff = Backoff(random.Random(seed))
    for _ in range(failures):
        backoff.next_s()
    wait_s = backoff.next_s(retry_after_s)
    assert (retry_after_s or 0) <= wait_s <= max(60, (retry_after_s or 0) + 1)
