"""Records that turn up late, move, or share an id: each message is counted once, and what is missed is admitted."""

import asyncio

import pytest

from infobip_exporter.model.channels import LOG_KEEPS_MS
from tests.feed.living import BEGIN_MS, Living, message

HOUR_MS = 3_600_000
LOG_KEEPS_S = LOG_KEEPS_MS / 1000


def test_records_that_turn_up_50_minutes_late_are_counted() -> None:
    async def live() -> None:
        feed = Living(interval_s=60.0)
        feed.send(*(message(f"m{n}", 1100 + n, late_s=3000 * (n % 10 == 0)) for n in range(300)))
        await feed.live_for(5 * 3600)
        assert feed.sent == 300
        assert feed.audited("missed") == 0
        assert feed.audited("recovered") == 0

    asyncio.run(live())


def test_records_that_turn_up_ten_hours_late_are_reported_by_the_audit_and_never_counted() -> None:
    async def live() -> None:
        feed = Living(interval_s=120.0)
        feed.send(*(message(f"m{n}", 1100 + n, late_s=36_000 * (n % 10 == 0)) for n in range(300)))
        await feed.live_for(9 * 3600)
        assert feed.feed.snapshot.final_age_s == 3600
        await feed.live_for(39 * 3600)
        assert feed.sent == 270
        assert feed.audited("missed") == 30
        assert feed.audited("vanished") == 0

    asyncio.run(live())


def test_the_final_age_doubles_for_a_day_after_the_audit_missed_a_message() -> None:
    async def live() -> None:
        feed = Living(interval_s=120.0)
        missed_s = 1100.0
        feed.send(
            message("late", missed_s, late_s=2 * 3600), *(message(f"m{n}", 1100 + n) for n in range(99))
        )
        ages: list[float | None] = []
        while feed.now_s < missed_s + 52 * 3600:
            await feed.live_for(3600)
            ages.append(feed.feed.snapshot.final_age_s)
        assert set(ages) == {3600, 7200}
        assert 23 <= ages.count(7200) <= 25

    asyncio.run(live())


@pytest.mark.parametrize("by_s", [-7.0, 7.0])
@pytest.mark.parametrize("group", ["PENDING", "DELIVERED"])
def test_a_sent_time_that_moves_by_seconds_is_one_message(by_s: float, group: str) -> None:
    async def live() -> None:
        feed = Living()
        moves_ms = BEGIN_MS + 1_300_000
        for n in range(20):
            before, after = (message(f"m{n}", at_s, group) for at_s in (1100 + n, 1100 + n + by_s))
            feed.send(before._replace(gone_ms=moves_ms), after._replace(visible_ms=moves_ms))
        await feed.live_for(3 * 3600)
        assert feed.sent == 20
        assert (feed.settled, feed.in_flight) == ((0, 20) if group == "PENDING" else (20, 0))

    asyncio.run(live())


def test_a_message_in_flight_in_final_time_whose_sent_time_moves_settles() -> None:
    async def live() -> None:
        feed = Living(interval_s=60.0)
        settles_ms = BEGIN_MS + 1_100_000 + 2 * HOUR_MS
        before = message("m", 1100, "PENDING")._replace(gone_ms=settles_ms)
        after = message("m", 1100.005, settles_s=7199.0)._replace(visible_ms=settles_ms)
        feed.send(before, after, *(message(f"other{n}", 1101 + n) for n in range(50)))
        await feed.live_for(4 * 3600)
        assert (feed.sent, feed.settled, feed.in_flight) == (51, 51, 0)

    asyncio.run(live())


def test_two_messages_with_one_id_settle_each_for_itself() -> None:
    async def live() -> None:
        feed = Living(page_limit=100)
        feed.send(
            message("twice", 1100, settles_s=3600), message("twice", 1700, "REJECTED", settles_s=20_000)
        )
        feed.send(*(message(f"m{n}", 1100 + n / 2) for n in range(12_000)))
        await feed.live_for(9000)
        assert (feed.sent, feed.settled, feed.in_flight) == (12_002, 12_001, 1)
        await feed.live_for(20_000)  # a lone straggler is asked for each time it is a fifth older
        assert (feed.sent, feed.settled, feed.in_flight) == (12_002, 12_002, 0)

    asyncio.run(live())


def test_messages_with_one_id_that_leave_the_log_in_flight_are_unresolved_one_by_one() -> None:
    async def live() -> None:
        feed = Living(interval_s=300.0)
        feed.send(message("twice", 1100, "PENDING"), message("twice", 1105, "PENDING"))
        feed.send(message("twice", 5000, settles_s=LOG_KEEPS_S - 600))
        await feed.live_for(LOG_KEEPS_S + 6 * 3600)
        assert (feed.sent, feed.settled, feed.unresolved, feed.in_flight) == (3, 1, 2, 0)
        assert set(feed.ledger.in_flight.values()) == {0}

    asyncio.run(live())
