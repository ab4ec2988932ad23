"""A failing world loses everything that its failure does not need."""

from simulation.shrink import shrink
from simulation.world import SimulatedWorld, draw


def test_only_what_a_failure_needs_is_left() -> None:
    world = next(
        w for w in map(draw, range(1000)) if len(w.feeds) == 2 and w.kill_every and w.feeds[1].filters
    )

    def fails(candidate: SimulatedWorld) -> bool:
        return bool(candidate.kill_every) and candidate.feeds[-1].channel == world.feeds[1].channel

    small, taken = shrink(world, fails)
    assert len(small.feeds) == 1
    assert small.kill_every == world.kill_every
    assert not small.disk_full
    assert not small.feeds[0].filters
    assert not small.feeds[0].faults.shares
    assert small.feeds[0].traffic.per_second < world.feeds[1].traffic.per_second / 10
    assert "the feed instagram" in taken


def test_a_world_that_needs_everything_stays_as_it_is() -> None:
    world = draw(1)
    assert shrink(world, lambda _candidate: False) == (world, [])
