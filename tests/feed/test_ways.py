"""The API answers in ways that nobody has documented, and changes them: every message is counted."""

import asyncio
from dataclasses import replace

import pytest

from infobip_sandbox.quirks import Quirks
from tests.feed.living import Living, message


@pytest.mark.parametrize("lookback_s", [0.0, 3600.0])
def test_the_end_that_a_full_page_holds_may_change_any_time(lookback_s: float) -> None:
    async def live() -> None:
        feed = Living(page_limit=50, lookback_s=lookback_s)
        feed.clock.now_s = 8000.0
        begin_s = 8001 - lookback_s
        feed.send(*(message(f"m{n}", begin_s + n / 5) for n in range(5 * round(lookback_s + 1200))))
        for keeps in ("newest", "oldest") * 4:
            feed.log.quirks = Quirks(keeps=keeps)  # type: ignore[arg-type]
            await feed.live(7)
        assert feed.sent == 5 * (lookback_s + 1200)
        assert feed.lost_s() == 0

    asyncio.run(live())


@pytest.mark.parametrize("capped_at", [0, 100])
def test_a_first_log_of_exactly_100_rows_slows_nothing_down_for_good(capped_at: int) -> None:
    """At first the server caps its answers, or it seems so."""

    async def live() -> None:
        feed = Living(lookback_s=900.0, quirks=Quirks(most_rows=capped_at))
        feed.send(*(message(f"first{n}", 200 + 5 * n) for n in range(100)))
        await feed.live(3)
        began_s = feed.now_s
        feed.send(*(message(f"m{n}", began_s + n / 20) for n in range(20 * 1800)))
        await feed.live(10)
        feed.log.quirks = replace(feed.log.quirks, most_rows=0)
        await feed.live(30)
        assert feed.lag_s < 60
        before = len(feed.queries)
        await feed.live(10)
        assert len(feed.queries) - before <= 30
        assert feed.sent >= 100 + 20 * (feed.now_s - began_s - 60)

    asyncio.run(live())
