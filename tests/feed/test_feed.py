"""A feed polls: what the API, its clock and the machine may do to it."""

import asyncio

from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.query import Query
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Answer
from tests.feed.polling import Polling
from tests.feed.recording import PENDING, row


def test_a_date_180_s_ahead_of_the_clock_that_stamps_messages_keeps_them_fresh() -> None:
    async def live() -> None:
        feed = Polling(date_off_s=lambda: 180.0)
        await feed.live(7)  # counting begins where the Date was at the start, 180 s ahead
        began_s = feed.clock.now_s
        feed.records = [row(f"m{n}", began_s + n) for n in range(600)]
        for _ in range(20):
            asked_s = feed.clock.now_s
            await feed.live(1)
            assert feed.sent >= asked_s - began_s

    asyncio.run(live())


def test_a_burst_of_wrong_dates_stops_neither_asking_nor_counting() -> None:
    async def live() -> None:
        feed = Polling()
        await feed.live(10)
        began_s = feed.clock.now_s
        feed.records = [row(f"m{n}", began_s + 10 * n) for n in range(300)]
        feed.date_off_s = lambda: 3 * 86400.0 if feed.clock.now_s < began_s + 1500 else 0.0
        before = len(feed.queries)
        await feed.live(50)
        assert before + 50 <= len(feed.queries) < before + 150, "asks on, and not the same over and over"
        await feed.live(52)
        assert feed.sent == 300
        assert feed.recording.total(catalog.LOST) == 0

    asyncio.run(live())


def test_the_same_ledger_in_a_new_process_counts_nothing_twice() -> None:
    async def live() -> None:
        feed = Polling()
        await feed.live(2)
        began_s = feed.clock.now_s
        feed.records = [row(f"m{n}", began_s + 5 * n) for n in range(100)]
        for _ in range(20):
            await feed.live(1)
            feed.start()
        assert feed.sent == 100

    asyncio.run(live())


def test_look_ups_that_always_fail_are_given_up_and_messages_settle_by_range() -> None:
    class NoLookUps(Polling):
        async def fetch(self, query: Query) -> Answer:
            if query.message_ids:
                self.queries.append((self.clock.now_s, query))
                raise RequestFailed("500", "no")
            return await super().fetch(query)

    async def live() -> None:
        feed = NoLookUps()
        await feed.live(2)
        began_s = feed.clock.now_s
        feed.records = [row(f"m{n}", began_s + 5 * n, PENDING) for n in range(100)]
        await feed.live(20)
        feed.records = [row(f"m{n}", began_s + 5 * n) for n in range(100)]
        await feed.live(60)
        assert feed.recording.total(catalog.MESSAGES) == 100
        assert sum(1 for _, query in feed.queries if query.message_ids) < len(feed.queries) / 4

    asyncio.run(live())


def test_a_message_in_flight_that_was_shown_stays_shown_at_zero() -> None:
    async def live() -> None:
        feed = Polling()
        await feed.live(2)
        feed.records = [row("a", feed.clock.now_s, PENDING)]
        sent_s = feed.clock.now_s
        await feed.live(2)
        feed.records = [row("a", sent_s)]
        await feed.live(10)
        assert list(feed.feed.snapshot.in_flight.values()) == [0]

    asyncio.run(live())
