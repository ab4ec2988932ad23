"""Whatever becomes of this machine's clock, the counts are those of the API's."""

import pytest

from simulation.time import ClockStep, VirtualTime
from tests.feed.test_feed import SENT, at
from tests.feed.worlds import BEGINS_MS, HOUR_S, FeedWorld

DAY_S = 24 * HOUR_S


@pytest.mark.parametrize("step_s", [-DAY_S, DAY_S])
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "with a restart"])
def test_a_clock_that_steps_by_a_day_changes_no_count_and_stops_nothing(
    step_s: float, *, restarted: bool
) -> None:

    time = VirtualTime(BEGINS_MS, float("inf"), (ClockStep(600.0, step_s),))
    world = FeedWorld([at(5 + 10 * n, f"m{n}") for n in range(120)], time=time)
    world.live(590)
    before = world.total(SENT)
    world.live(20)
    if restarted:
        world.start()
    world.live(120)
    assert world.total(SENT) > before
    world.live(1000)
    assert world.total(SENT) == 120
    assert world.feed.snapshot.up
    assert world.feed.snapshot.clock_skew_s == pytest.approx(-step_s, abs=2)


def test_an_api_clock_that_is_set_back_is_told_once() -> None:
    time = VirtualTime(BEGINS_MS, float("inf"), api_steps=(ClockStep(600.0, -900.0),))
    world = FeedWorld([at(10 * n, f"m{n}") for n in range(1, 100)], time=time)
    world.live(590)
    assert not [line for line in world.lines if "set back" in str(line)]
    world.live(1200)
    assert len([line for line in world.lines if "set back" in str(line)]) == 1
    world.live(600)
    assert world.total(SENT) == 99
