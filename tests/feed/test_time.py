"""Clocks and machines do what they like: the feed goes on, and what left the log unread is reported."""

import asyncio

from infobip_exporter.model.channels import LOG_KEEPS_MS
from tests.feed.living import Living, message

LOG_KEEPS_S = LOG_KEEPS_MS / 1000


def test_a_machine_that_slept_for_two_days_goes_on_and_reports_what_it_missed() -> None:
    async def live() -> None:
        feed = Living()
        await feed.live(10)
        began_s = feed.now_s
        slept_s = LOG_KEEPS_S + 360
        feed.send(*(message(f"m{n}", began_s + 60 * n) for n in range(round((slept_s + 3600) / 60))))
        feed.clock.slept_s = slept_s
        await feed.live(30)
        assert feed.feed.snapshot.up
        assert feed.lag_s < 60
        reported_as_lost(feed, began_s, every_s=60)
        provisional_s = 300.0  # was read before the machine slept, but not at the age of late_arrival
        assert 360 <= feed.lost_s() <= 360 + provisional_s + 30

    asyncio.run(live())


def test_a_suspend_while_a_backlog_is_read_reports_what_has_left_the_log() -> None:
    async def live() -> None:
        feed = Living(lookback_s=LOG_KEEPS_S, budget=10, page_limit=100)
        feed.clock.now_s = LOG_KEEPS_S + 1000
        feed.send(*(message(f"m{n}", 1000 + 10 * n) for n in range(round(LOG_KEEPS_S / 10 + 2000))))
        await feed.live(4)
        feed.clock.slept_s = 3558.0
        await feed.live(300)
        reported_as_lost(feed, 1060, every_s=10)
        assert 1800 < feed.lost_s() < 3558

    asyncio.run(live())


def reported_as_lost(feed: Living, begin_s: float, every_s: float) -> None:
    """Every message since then, one each `every_s`, is counted or was sent in time that is reported as lost."""
    missing_s = feed.now_s - feed.lag_s - begin_s - feed.sent * every_s
    assert 0 < missing_s < feed.lost_s() + 2 * every_s


def test_two_servers_8_s_apart_that_take_turns_keep_the_counts_fresh() -> None:
    async def live() -> None:
        feed = Living()
        feed.date_off_s = lambda: 8.0 * (len(feed.queries) % 2)
        await feed.live(10)
        began_s = feed.now_s
        feed.send(*(message(f"m{n}", began_s + n) for n in range(8000)))
        for _ in range(200):
            asked_s = feed.now_s
            await feed.live(1)
            assert feed.lag_s < 60
            assert feed.sent >= asked_s - began_s
        assert feed.feed.snapshot.final_age_s == 3600
        assert feed.ledger.cells[0].final

    asyncio.run(live())


def test_dates_60_days_ahead_after_a_restart_count_nothing_twice_and_lose_nothing() -> None:
    async def live() -> None:
        feed = Living()
        feed.send(*(message(f"m{n}", 1100 + n, settles_s=90) for n in range(3000)))
        await feed.live(10)
        feed.date_off_s = lambda: 60 * 86_400.0
        feed.start()
        await feed.live(10)
        feed.date_off_s = lambda: 0.0
        await feed.live(100)
        assert (feed.sent, feed.settled) == (3000, 3000)
        assert feed.lost_s() + feed.lost_s("clock_set_back") == 0
        assert feed.lag_s < 60

    asyncio.run(live())
