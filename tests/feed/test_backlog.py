"""What was sent before the exporter began: few requests, none of the traffic that is live kept waiting."""

import asyncio
from random import Random

from tests.feed.living import Living, message


def test_a_backlog_takes_hardly_more_requests_than_there_are_pages() -> None:
    async def live() -> None:
        rng = Random(1)
        lookback_s = 12 * 3600.0
        feed = Living(lookback_s=lookback_s)
        feed.clock.now_s = 50_000.0
        sent_s = [rng.uniform(50_000 - lookback_s, 50_000) for _ in range(60_000)]
        feed.send(*(message(f"m{n}", at_s) for n, at_s in enumerate(sent_s)))
        while feed.ledger.progress.begin_ms is None or feed.ledger.progress.unread:
            await feed.live(1)
        assert feed.sent == 60_000
        oldest_ms = min(query.since_ms for _, query in feed.queries if query.since_ms)
        done = next(n for n, (_, query) in enumerate(feed.queries) if query.since_ms == oldest_ms)
        fewest, first_guesses = 60, 10
        assert done < 1.25 * fewest + first_guesses

    asyncio.run(live())
