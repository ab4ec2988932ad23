"""Sent time is the API's: our own clock may be set while the exporter runs, and nothing changes."""

import asyncio
from dataclasses import dataclass

import pytest

from infobip_exporter.metrics import catalog
from tests.feed.polling import Polling
from tests.feed.recording import BEGIN_MS, StillClock, row


@dataclass
class SteppingClock(StillClock):
    """Our wall clock is set `by_s` ahead at `at_s`."""

    at_s: float = 2000.0
    by_s: float = 0.0

    def wall_s(self) -> float:
        return BEGIN_MS / 1000 + self.now_s + (self.by_s if self.now_s >= self.at_s else 0.0)


@pytest.mark.parametrize("by_s", [86_400.0, -86_400.0, 3600.0])
def test_a_clock_that_is_set_while_running_changes_no_count_and_stops_nothing(by_s: float) -> None:
    world = Polling(clock=SteppingClock(by_s=by_s))
    world.records = [row(f"id-{at_s}", at_s) for at_s in range(1100, 6900, 10)]
    asyncio.run(world.live(200))
    assert world.sent == len(world.records)
    assert world.feed.snapshot.up
    assert world.recording.total(catalog.LOST) == 0
