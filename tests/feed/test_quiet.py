"""An account that falls silent: what it sent becomes final and is audited, at one request a poll."""

import asyncio

from infobip_exporter.model.channels import LOG_KEEPS_MS
from tests.feed.living import Living, message


def test_what_was_sent_before_a_silence_becomes_final_and_is_audited() -> None:
    async def live() -> None:
        feed = Living(interval_s=300.0, page_limit=100)
        feed.send(*(message(f"m{n}", 1100 + 3 * n) for n in range(601)))
        await feed.live_for(2400)
        feed.start()  # and nothing new tells the next process how far the API's clock is
        await feed.live_for(12_000)
        cells = feed.ledger.cells.table
        assert cells["final"][cells["messages"] > 0].all()
        before = len(feed.queries)
        await feed.live_for(LOG_KEEPS_MS / 2000 + 7200)
        polls = (LOG_KEEPS_MS / 2000 + 7200) / 300
        cells = feed.ledger.cells.table
        assert cells["audited"][cells["messages"] > 0].all()
        assert len(feed.queries) - before < 1.1 * polls
        verified_up_to_ms = feed.feed.snapshot.verified_up_to_ms
        assert verified_up_to_ms is not None
        assert verified_up_to_ms > feed.ledger.progress.watermark_ms - 2 * 3_600_000

    asyncio.run(live())


def test_a_final_cell_whose_rows_look_like_a_cap_is_audited_once() -> None:
    async def live() -> None:
        feed = Living(interval_s=300.0)
        feed.send(*(message(f"m{n}", 1100 + n) for n in range(100)))
        await feed.live_for(LOG_KEEPS_MS / 2000 + 3600)
        before = len(feed.queries)
        await feed.live_for(7200)
        assert len(feed.queries) - before < 24 + 25
        assert (feed.audited("missed"), feed.audited("vanished")) == (0, 0)
        assert feed.audited("verified") == 200

    asyncio.run(live())
