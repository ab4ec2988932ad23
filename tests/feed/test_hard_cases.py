"""A feed in what is rare: ids used again in dense traffic, a process killed between a request and its answer."""

import asyncio
from dataclasses import replace
from unittest.mock import patch

import pytest

from infobip_exporter.infobip.query import Query
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import NEVER_MS
from infobip_exporter.model.record import Answer, Page, Records
from infobip_exporter.model.time_range import TimeRange, TimeRanges
from infobip_exporter.planning.requests import LookUp, ReadRange, ReadStatus, Request, Why
from tests.feed.polling import Polling
from tests.feed.recording import BEGIN_MS, PENDING, REJECTED, row


class Chosen:
    """A planner that chooses these requests and then nothing."""

    def __init__(self, *requests: Request) -> None:
        self._requests = list(requests)

    def next_request(self, *_: object) -> Request | None:
        return self._requests.pop(0) if self._requests else None


@pytest.mark.parametrize("lookback_s", [0.0, 7000.0])
def test_an_id_used_again_in_dense_traffic_is_counted_and_costs_a_few_requests(lookback_s: float) -> None:
    async def live() -> None:
        feed = Polling(page_limit=100, lookback_s=lookback_s)
        feed.clock.now_s = 8000.0
        begin_s = feed.clock.now_s - lookback_s + 1
        feed.records = [row(f"m{n}", begin_s + n / 30) for n in range(1500)]
        feed.records += [row("m100", begin_s + 12), row("m300", begin_s + 11)]
        await feed.live(10)
        assert feed.sent == len(feed.records)
        assert len(feed.queries) < 150

    asyncio.run(live())


def test_requests_of_a_killed_process_count_against_the_budget_of_the_next() -> None:
    async def live() -> None:
        feed = Polling(interval_s=3600.0, budget=10)
        await feed.live(1)
        before = len(feed.queries)
        poll = asyncio.create_task(feed.feed.poll())
        while len(feed.queries) == before:  # noqa: ASYNC110 - one step of the feed at a time
            await asyncio.sleep(0)
        poll.cancel()  # and nothing that it did after its last commit is known to the next process
        killed_s = feed.clock.now_s
        feed.start()
        spent = feed.feed._limiter.times(killed_s)
        assert len(spent) >= len(feed.queries) - before

    asyncio.run(live())


def test_a_look_up_of_messages_that_have_settled_is_not_sent() -> None:
    async def live() -> None:
        feed = Polling(records=[row("settled", 990)], lookback_s=100.0)
        await feed.live(1)
        cell = feed.ledger.cells[0].since_ms

        feed.feed._planner = Chosen(LookUp(Why.RECHECK, (cell,)))  # type: ignore[assignment]
        assert await feed.feed._next_jobs(10, []) == []

    asyncio.run(live())


class ShowsAnother(Polling):
    """Answers by status show a row of another time as well."""

    async def fetch(self, query: Query) -> Answer:
        answer = await super().fetch(query)
        rows = [*answer.page.records, *([row("another", 950)] if query.general_status else [])]
        return replace(answer, page=Page(Records.of(rows), len(rows)))


def test_what_an_answer_by_status_shows_beside_the_time_asked_for_is_not_counted() -> None:
    async def live() -> None:
        feed = ShowsAnother(lookback_s=100.0)
        await feed.live(1)
        feed.records = [row("rejected", 980, REJECTED)]
        wanted = TimeRange(BEGIN_MS + 970_000, BEGIN_MS + 990_000)
        chosen = Chosen(ReadStatus(Why.FAILURES, "REJECTED", wanted))
        feed.feed._planner.next_request = chosen.next_request  # type: ignore[method-assign]
        await feed.live(1)
        assert feed.queries[-1][1].general_status == "REJECTED"
        assert feed.sent == 1

    asyncio.run(live())


def test_a_start_while_the_api_can_not_show_the_newest_row_counts_all_others() -> None:
    async def live() -> None:
        spoilt = row("spoilt", 999)
        feed = Polling(records=[row("sound", 950), spoilt], lookback_s=100.0, unshowable=spoilt)
        await feed.live(20)
        assert feed.sent == 1
        assert feed.feed.snapshot.up

    asyncio.run(live())


def test_a_row_that_can_not_be_shown_keeps_back_its_own_second_only() -> None:
    async def live() -> None:
        feed = Polling(records=[row("before", 1100)], lookback_s=100.0)
        await feed.live(10)
        feed.unshowable = row("spoilt", feed.clock.now_s + 10)
        feed.records += [feed.unshowable, row("beside", feed.clock.now_s + 12)]
        await feed.live(8)
        assert feed.sent == 2
        assert feed.feed.snapshot.backlog_ms <= 1000

    asyncio.run(live())


def test_a_row_that_can_not_be_shown_between_two_places_of_an_id_is_not_asked_for_over_and_over() -> None:
    async def live() -> None:
        feed = Polling(records=[row("moves", 999)], lookback_s=100.0, interval_s=600.0)
        await feed.live(1)
        feed.unshowable = row("spoilt", 1002)
        feed.records = [feed.unshowable, row("moves", 1004)]
        for _ in range(20):
            asked = len(feed.queries)
            await feed.live(1)
            assert len(feed.queries) - asked < 50
        assert feed.sent == 1
        assert feed.feed.snapshot.up

    asyncio.run(live())


def test_a_gap_is_read_also_where_the_newest_message_is_an_hour_old() -> None:
    async def live() -> None:
        feed = Polling(records=[row("old", 1005, PENDING)])
        await feed.live(40)
        feed.clock.now_s += 3600
        await feed.live(3)
        assert feed.feed.snapshot.backlog_ms < 60_000

    asyncio.run(live())


def test_all_parts_of_a_range_that_failed_as_a_whole_are_asked_for() -> None:
    async def live() -> None:
        feed = Polling(lookback_s=900.0)
        await feed.live(1)
        wanted = TimeRange(BEGIN_MS + 500_000, BEGIN_MS + 508_000)
        for answered in (1, 2):
            feed.feed._avoided.range_failed(wanted, feed.clock.now_s, answered)
        feed.feed._planner = Chosen(ReadRange(Why.FINAL, wanted))  # type: ignore[assignment]
        parts = [job.part.range for job in await feed.feed._next_jobs(10, []) if job.part]
        assert len(parts) == 2
        assert TimeRanges(parts) == TimeRanges([wanted])

    asyncio.run(live())


def test_a_millisecond_that_takes_more_requests_than_a_poll_has_is_read_over_several() -> None:
    async def live() -> None:
        kinds = [PENDING._replace(general_status=status) for status in ("DELIVERED", "REJECTED", "EXPIRED")]
        records = [row(f"m{n}", 990, kinds[n % 3]) for n in range(24)]
        feed = Polling(records=records, lookback_s=100.0, page_limit=10, budget=6)
        await feed.live(40)
        assert feed.sent == len(records)

    asyncio.run(live())


def test_what_was_sent_before_the_beginning_is_in_no_cell_and_raises_no_alarm() -> None:
    async def live() -> None:
        feed = Polling(records=[row("before", 998.5), row("after", 1010)])
        await feed.live(200)
        begin_ms = feed.ledger.progress.begin_ms
        assert begin_ms is not None
        assert feed.ledger.cells[0].since_ms >= begin_ms
        assert feed.sent == 1
        assert feed.recording.total(catalog.AUDIT, result="missed") == 0
        assert feed.recording.total(catalog.AUDIT, result="vanished") == 0

    asyncio.run(live())


class SettlesMeanwhile(Polling):
    """The message settles right before it is asked for by status; that question overtakes the read of its range."""

    async def fetch(self, query: Query) -> Answer:
        if query.general_status is not None:
            self.records = [row("m", 990, REJECTED), row("other", 991)]
        answer = await super().fetch(query)
        if query.until_ms is not None and query.general_status is None:
            for _ in range(20):
                await asyncio.sleep(0)
        return answer


def test_an_answer_that_was_overtaken_by_one_that_knew_more_raises_no_alarm() -> None:
    async def live() -> None:
        feed = SettlesMeanwhile(records=[row("m", 990, PENDING), row("other", 991)], lookback_s=100.0)
        await feed.live(140)
        (cell,) = (each for each in feed.ledger.cells.between(TimeRange(0, 1 << 62)) if each.in_flight)
        assert cell.final
        chosen = Chosen(ReadRange(Why.RECHECK, cell.range), ReadStatus(Why.RECHECK, "REJECTED", cell.range))
        with patch.object(feed.feed._planner, "next_request", chosen.next_request):
            await feed.live(1)
        assert feed.recording.total(catalog.MESSAGES) == 2
        assert feed.recording.total(catalog.AUDIT, result="missed") == 0
        assert feed.recording.total(catalog.AUDIT, result="vanished") == 0

    asyncio.run(live())


class Filtered(Polling):
    """`narrow` filters leave out most of what was sent."""

    narrow = False

    async def fetch(self, query: Query) -> Answer:
        answer = await super().fetch(query)
        if not self.narrow:
            return answer
        few = Records.of([each for each in answer.page.records if each.message_id.endswith("1")])
        return replace(answer, page=Page(few, len(few)))


def test_filters_that_are_narrowed_raise_no_alarm() -> None:
    async def live() -> None:
        feed = Filtered(records=[row(f"m{n}", 1000.01 + n / 20) for n in range(6000)])
        await feed.live(6)
        feed.clock.now_s += 0.7
        await feed.live(1)
        assert any(each.read_ms == NEVER_MS for each in feed.ledger.cells.between(TimeRange(0, 1 << 62)))
        feed.start()
        feed.narrow = True
        feed.feed.settings = replace(feed.feed.settings, filters="other")
        await feed.live(170)
        assert feed.recording.total(catalog.AUDIT, result="verified") > 0
        assert feed.recording.total(catalog.AUDIT, result="missed") == 0
        assert feed.recording.total(catalog.AUDIT, result="vanished") == 0

    asyncio.run(live())
