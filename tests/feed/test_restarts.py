"""A process that is killed between any two commits loses nothing and counts nothing twice."""

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

from infobip_exporter.metrics import catalog
from infobip_exporter.model.series import Series
from tests.feed.living import BEGIN_MS, Living, message

T = TypeVar("T")

COUNTED = {
    family.name for family in (catalog.SENT, catalog.MESSAGES, catalog.PARTS, catalog.COST, catalog.FAILURES)
}


class Killed(Exception):
    pass


class Mortal:
    """Does the ledger's work, and dies before that numbered `dies_at`."""

    def __init__(self, dies_at: int) -> None:
        self.left = dies_at

    async def run(self, work: Callable[[], T]) -> T:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return work()


def live(dies_at: int) -> tuple[Mapping[Series, int | Decimal], bool]:
    """What is counted where the process is killed there and started again, and whether it came to that."""
    feed = Living(page_limit=20, interval_s=600.0, worker=Mortal(dies_at))
    feed.send(*(message(f"m{n}", 1300 + 20 * n, settles_s=20 * n) for n in range(60)))
    feed.send(message("m7", 1600), message("late", 2000, late_s=1800), message("stays", 1700, "PENDING"))
    feed.send(message("moves", 1800)._replace(gone_ms=BEGIN_MS + 3_000_000))
    feed.send(message("moves", 1805, late_s=1195))

    async def poll() -> bool:
        killed = False
        while feed.now_s < 9000:
            try:
                await feed.live(1)
            except Killed:
                killed = True
                feed.worker = Mortal(-1)
                feed.start()
        return killed

    killed = asyncio.run(poll())
    assert feed.lost_s() == 0
    counted = {series: n for series, n in feed.ledger.counters.items() if series.family in COUNTED}
    return {**counted, **feed.ledger.in_flight}, killed


def test_killed_between_any_two_commits_it_counts_the_same() -> None:
    undisturbed, _ = live(-1)
    sent = sum(n for series, n in undisturbed.items() if series.family == catalog.SENT.name)
    assert sent == 64
    killed, dies_at = True, 0
    while killed:
        counted, killed = live(dies_at)
        assert counted == undisturbed, dies_at
        dies_at += 1
    assert dies_at > 50
