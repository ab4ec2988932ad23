"""What answers leave in the ledger, in whatever order they come and whatever they show."""

import asyncio
from decimal import Decimal

import pytest

from infobip_exporter.counting.cells_after import Reading
from infobip_exporter.feed.expiry import exempt_from_audit, expire, set_back
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Page, Records, RejectedRow
from infobip_exporter.model.time_range import TimeRange
from tests.feed.recording import BEGIN_MS, HOUR_MS, PENDING, REJECTED, Recording, bounds, row


def test_rows_in_unread_time_on_both_sides_of_a_cell_leave_cells_that_do_not_overlap() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(1000, 2000, [row("inside", 1500)], now_s=3600)
        failures = [row("before", 900, REJECTED), row("after", 2100, REJECTED)]
        await feed.read(0, 3600, failures, now_s=3600, proven=False)
        feed.check_partition()
        for _ in range(2):
            await feed.read(0, 3600, [row("between", 2050, REJECTED)], now_s=3600, proven=False)
            feed.check_partition()
        assert feed.sent == 4

    asyncio.run(live())


def test_an_id_used_again_beyond_the_range_of_a_final_read_is_counted_in_the_end() -> None:
    async def live() -> None:
        feed = Recording()
        now_s = 10_000.0
        await feed.read(0, 1000, [row("twice", 999)], now_s=500)  # too young to be final
        again = await feed.read(1000, 2000, [row("twice", 1001)], now_s=now_s)
        for each in again:
            since_s, until_s = ((moment - BEGIN_MS) / 1000 for moment in each)
            await feed.read(since_s, until_s, [row("twice", 999), row("twice", 1001)], now_s=now_s)
        await feed.read(1000, 2000, [row("twice", 1001)], now_s=now_s)
        assert feed.sent == 2

    asyncio.run(live())


def test_a_message_that_moves_into_the_next_cell_is_counted_once() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(0, 1000, [row("moves", 999)], now_s=3600)
        await feed.read(1000, 2000, [row("other", 1500)], now_s=3600)
        again = await feed.read(1000, 2000, [row("moves", 1001), row("other", 1500)], now_s=3620)
        for each in again:
            since_s, until_s = ((moment - BEGIN_MS) / 1000 for moment in each)
            await feed.read(since_s, until_s, [row("moves", 1001)], now_s=3620)
        assert feed.sent == 2

    asyncio.run(live())


def test_a_message_that_moves_out_of_a_cell_that_becomes_final_first_is_counted_once() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(0, 1000, [row("other", 500)], now_s=3600)
        await feed.read(1000, 2000, [row("moves", 1001), row("stays", 1500)], now_s=3600)
        now_s = 10_000.0
        await feed.read(1000, 2000, [row("stays", 1500)], now_s=now_s)
        feed.start()
        again = await feed.read(0, 1000, [row("other", 500), row("moves", 999)], now_s=now_s)
        for each in again:
            since_s, until_s = ((moment - BEGIN_MS) / 1000 for moment in each)
            await feed.read(since_s, until_s, [row("moves", 999)], now_s=now_s)
        assert feed.sent == 3

    asyncio.run(live())


def test_a_final_cell_keeps_the_settled_messages_that_the_log_lacks_and_no_others() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(
            0, 1000, [row("gone", 500), row("stays", 600), row("settles", 700, PENDING)], now_s=1000
        )
        final = [row("stays", 600), row("settles", 700, PENDING)]
        await feed.read(0, 1000, final, now_s=10_000)
        await feed.read(0, 1000, [row("stays", 600), row("settles", 700)], now_s=10_001)
        known = await feed.recorder.known_in(feed.ledger.cells.between(TimeRange(0, 1 << 62)))
        assert known.settled["sent_ms"].tolist() == [BEGIN_MS + 500_000]
        for now_s in (10_002, 10_003):
            await feed.read(0, 1000, [row("stays", 600), row("settles", 700)], now_s=now_s)
        assert feed.total(catalog.AUDIT, result="vanished") == 1
        assert feed.total(catalog.AUDIT, result="missed") == 0

    asyncio.run(live())


def test_what_can_not_be_audited_is_not_reported_as_vanished() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(0, 1000, [row("a", 500), row("b", 600)], now_s=3600)
        await exempt_from_audit(feed.recorder)
        await feed.read(0, 1000, [row("a", 500)], now_s=5000)
        assert feed.ledger.cells[0].final
        assert feed.total(catalog.AUDIT) == 0

    asyncio.run(live())


def test_what_leaves_the_log_during_a_final_read_is_not_reported_as_vanished() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(0, 60, [row("a", 1), row("b", 50)], now_s=3600)
        await feed.read(0, 60, [row("b", 50)], now_s=48 * 3600 - 10)
        assert feed.ledger.cells[0].final
        assert feed.total(catalog.AUDIT, result="vanished") == 0

    asyncio.run(live())


def test_statuses_beyond_the_most_agree_with_the_audit() -> None:
    async def live() -> None:
        feed = Recording()
        records = [row(f"m{n}", 10 + n, REJECTED._replace(general_status=f"G{n}")) for n in range(140)]
        await feed.read(0, 1000, records, now_s=2000)
        await feed.read(0, 1000, records, now_s=5000)
        await feed.read(0, 1000, records, now_s=5100)
        assert feed.sent == 140
        assert feed.total(catalog.AUDIT, result="missed") == 0
        assert feed.total(catalog.AUDIT, result="vanished") == 0

    asyncio.run(live())


def test_time_repeated_by_a_clock_that_is_set_back_is_all_read_or_unread() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(0, 3600, [row("a", 10), row("b", 3500)], now_s=3600)
        await set_back(feed.recorder, bounds(3000))
        feed.check_partition()
        await feed.read(0, 3001, [row("a", 10)], now_s=3001)
        feed.recorder.advance(BEGIN_MS + 3_600_000)
        feed.check_partition()
        await feed.read(3001, 3600, [row("b", 3500), row("new", 3100)], now_s=3600)
        feed.check_partition()
        assert feed.sent == 3

    asyncio.run(live())


@pytest.mark.parametrize("whole_at_first", [False, True])
def test_an_oversized_millisecond_that_can_not_be_read_whole_loses_its_time_once(
    whole_at_first: bool,
) -> None:
    async def live() -> None:
        feed = Recording()
        millisecond = TimeRange(BEGIN_MS + 10_000, BEGIN_MS + 10_001)
        for number, now_s in enumerate((3600.0, 3700.0, 3800.0)):
            now = bounds(now_s)
            page = Page(Records.of([row("a", 10)]), 1)
            too_dense = number > 0 or not whole_at_first
            await feed.recorder.record(
                Reading(page, millisecond, now, now, HOUR_MS, too_dense=too_dense, oversized=True)
            )
        assert feed.total(catalog.LOST, reason="too_dense") == Decimal("0.001")

    asyncio.run(live())


def test_a_message_in_flight_is_unresolved_once_it_has_left_even_in_a_cell_of_many_hours() -> None:
    async def live() -> None:
        feed = Recording()
        records = [row("first", 100, PENDING), row("second", 3000, PENDING)]
        await feed.read(0, 3600, records, now_s=10_000)
        now_s = 48 * 3600 + 200.0
        await expire(feed.recorder, bounds(now_s), 0)
        assert feed.total(catalog.UNRESOLVED) == 1
        assert sum(feed.ledger.in_flight.values()) == 1
        [cell] = feed.ledger.cells.between(TimeRange(BEGIN_MS, BEGIN_MS + HOUR_MS))
        assert (cell.in_flight, cell.oldest_in_flight_ms) == (1, BEGIN_MS + 3_000_000)
        await feed.read(0, 3600, records, now_s=now_s)  # by an API whose clock is behind its Date headers
        assert feed.sent == 2

    asyncio.run(live())


def test_time_that_came_and_left_the_log_while_nothing_could_be_asked_is_lost() -> None:
    async def live() -> None:
        feed = Recording()
        await feed.read(0, 3600, [], now_s=10_000)
        await expire(feed.recorder, bounds(48 * 3600 + 3600 + 1000.0), 0)
        assert feed.total(catalog.LOST, reason="expired") == Decimal(1000)
        await set_back(feed.recorder, bounds(48 * 3600 + 3600 + 900.0))
        feed.check_partition()

    asyncio.run(live())


def test_a_row_that_can_not_be_counted_counts_once_though_a_date_was_wrong_when_it_was_read_first() -> None:
    async def live() -> None:
        feed = Recording()
        page = Page(Records.of([]), 1, [RejectedRow("no_id", b"the same")])
        right = bounds(3600)
        behind = Bounds(right.earliest_ms - 4 * HOUR_MS, right.latest_ms, certain=False)
        await feed.recorder.record(Reading(page, None, behind, behind, HOUR_MS))
        later = bounds(47 * 3600)
        feed.recorder.prune(later)
        feed.recorder.prune(bounds(90 * 3600, certain=False))
        for _ in range(2):
            await feed.recorder.record(Reading(page, None, later, later, HOUR_MS))
        assert feed.total(catalog.REJECTED, reason="no_id") == 1

    asyncio.run(live())


def test_a_clock_that_seemed_days_ahead_or_behind_changes_nothing_of_what_is_counted_after_it() -> None:
    async def live() -> None:
        feed = Recording()
        feed.recorder.move(first_ms=BEGIN_MS)
        days_s = 4 * 86_400.0
        await expire(feed.recorder, bounds(days_s), 0)
        await set_back(feed.recorder, bounds(7200))
        feed.recorder.advance(BEGIN_MS + 9_000_000)
        await feed.read(7201, 9000, [row("after", 8000)], now_s=9000)
        assert feed.sent == 1
        await set_back(feed.recorder, bounds(-days_s))
        feed.recorder.advance(BEGIN_MS + 9_000_000)
        assert feed.recorder.progress.unread.ranges[0].since_ms == BEGIN_MS
        await feed.read(-days_s, 9000, [row("before", -100), row("after", 8000)], now_s=9000)
        assert feed.sent == 1

    asyncio.run(live())
