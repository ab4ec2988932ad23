"""A budget that is small for its polls: each of them asks, and nothing starves."""

import asyncio
from contextlib import suppress
from random import Random
from unittest.mock import patch

import pytest
import structlog
from structlog.testing import capture_logs

from infobip_exporter.feed.situations import FEWEST
from tests.feed.living import Living, message


@pytest.mark.parametrize(("budget", "interval_s", "within_s"), [(100, 1.0, 30.0), (20, 1.0, 120.0)])
def test_short_polls_count_a_burst_and_a_backlog(budget: int, interval_s: float, within_s: float) -> None:
    async def live() -> None:
        feed = Living(budget=budget, interval_s=interval_s, lookback_s=1800.0)
        begin_s = feed.clock.now_s = 50_000.0
        burst_s = begin_s + 180.0
        feed.send(*(message(f"old{n}", begin_s - 1800 + n) for n in range(1800)))
        feed.send(*(message(f"new{n}", begin_s + n) for n in range(180)))
        feed.send(*(message(f"burst{n}", burst_s + n / 500, settles_s=5.0) for n in range(6000)))
        await feed.live_for(180.0 + 12.0 + within_s)
        assert feed.sent == feed.settled == 1800 + 180 + 6000

    asyncio.run(live())


def test_the_first_minute_leaves_each_poll_a_question_though_pages_come_back_full() -> None:
    async def live() -> None:
        feed = Living(budget=30, interval_s=5.0, lookback_s=7200.0, page_limit=100)
        begin_s = feed.clock.now_s = 50_000.0
        rng = Random(1)
        bursts_s = [begin_s - rng.uniform(0, 7200) for _ in range(60)]
        feed.send(*(message(f"m{n}", rng.choice(bursts_s) + rng.uniform(0, 2)) for n in range(20_000)))
        for _ in range(40):
            asked = len(feed.queries)
            await feed.live(1)
            assert len(feed.queries) > asked

    asyncio.run(live())


def test_polls_come_as_often_as_the_budget_has_requests_for_them() -> None:
    assert Living(budget=100, interval_s=30.0).feed.interval_s == 30.0
    assert Living(budget=100, interval_s=1.0).feed.interval_s == pytest.approx(0.6 * FEWEST, rel=0.03)
    assert Living(budget=1, interval_s=30.0).feed.interval_s == pytest.approx(60 * FEWEST, rel=0.03)


@pytest.mark.parametrize(("budget", "said"), [(10, [12.9]), (100, [])])
def test_polls_that_are_rarer_than_configured_are_told(budget: int, said: list[float]) -> None:
    feed = Living(budget=budget, interval_s=5.0).feed
    with capture_logs() as lines:
        running = feed.run()
        feed._log = structlog.get_logger()
        with suppress(asyncio.CancelledError), patch.object(feed, "poll", side_effect=asyncio.CancelledError):
            asyncio.run(running)
    assert [line["interval_s"] for line in lines if line["log_level"] == "warning"] == said
