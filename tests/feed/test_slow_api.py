"""An API that answers slowly: few requests fit a poll."""

import asyncio

from tests.feed.living import Living, message


def test_a_burst_at_the_start_does_not_make_later_polls_ask_for_more_than_they_can() -> None:
    async def live() -> None:
        feed = Living(interval_s=30.0, takes_s=1.0, lookback_s=600.0)
        feed.send(*(message(f"b{n}", 990 + n / 500) for n in range(6000)))
        await feed.live_for(300)
        before = len(feed.queries)
        await feed.live(1)
        assert len(feed.queries) - before == 1
        assert feed.lag_s < 2 * feed.interval_s
        assert feed.sent == 6000

    asyncio.run(live())


def test_a_feed_that_starts_amid_dense_traffic_keeps_up() -> None:
    async def live() -> None:
        feed = Living(interval_s=30.0, takes_s=1.25, page_limit=100)
        feed.send(*(message(f"m{n}", 900 + n / 30) for n in range(24_000)))
        await feed.live_for(600)
        assert feed.lag_s < 2 * feed.interval_s

    asyncio.run(live())
