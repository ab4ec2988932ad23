"""Each invariant is seen to be broken when it is."""

import sqlite3
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from infobip_exporter.counting import known
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.series import Series
from infobip_exporter.model.time_range import TimeRanges
from simulation.api import History
from simulation.check import EDGE_SLACK_MS, Guard, WatchedLedger, conserves, is_not_negative, mirrors
from simulation.time import ApiTime, WorldTime
from simulation.trace import Trace
from simulation.violation import Violated

T = 1_790_000_000_000
NOW = T + 20_000
LATE_MS = 10_000
SENT = Series.of(catalog.SENT.name, entity_id="shop", application_id="")
REQUESTS = Series.of(catalog.REQUESTS.name, code="200")


@pytest.fixture
def store() -> SqliteStore:
    store = SqliteStore(sqlite3.connect(":memory:", isolation_level=None), "memory")
    store.create_tables()
    return store


@pytest.fixture
def guard(store: SqliteStore) -> Guard:
    """Of a feed that began at T, 20 s ago; all time since was asked for."""
    return Guard(
        ApiTime(WorldTime(T, now_s=20.0)),
        History(asked=TimeRanges([(T, NOW)])),
        Trace(),
        stored=lambda: Ledger(store, "main", "instagram"),
        late_ms=LATE_MS,
    )


@pytest.fixture
def ledger(store: SqliteStore, guard: Guard) -> WatchedLedger:
    ledger = WatchedLedger(store, "main", "instagram", guard)
    ledger.commit(Changes(progress=progress((0, 500))))
    return ledger


def progress(*unread: tuple[int, int], begin: int = 0, watermark: int = 500) -> Progress:
    """Moments after T."""
    ranges = TimeRanges((T + since, T + until) for since, until in unread)
    return Progress(begin_ms=T + begin, watermark_ms=T + watermark, unread=ranges)


def cell(since: int, until: int, *, final: bool = False, messages: int = 0) -> Cell:
    return Cell(T + since, T + until, messages, read_ms=NOW, looked_ms=NOW, reads=1, final=final)


def lost(seconds: str) -> Changes:
    """120 ms leave the log, and so many seconds are reported."""
    changes = Changes(progress=progress((120, 500), begin=120))
    changes.add(Series.of(catalog.LOST.name, reason="expired"), Decimal(seconds))
    return changes


def test_time_that_is_read_and_becomes_final_is_fine(ledger: WatchedLedger, guard: Guard) -> None:
    ledger.commit(Changes(cells=[cell(0, 400, final=True)], progress=progress((400, 500))))
    assert [tuple(each.range) for each in guard.finals] == [(T, T + 400)]
    mirrors(ledger, guard.stored())


@pytest.mark.parametrize(
    ("cells", "after", "told"),
    [
        ([], progress((0, 500), watermark=600), "neither read nor unread nor lost"),
        ([cell(0, 400)], progress((399, 500)), "unread time was read"),
        ([cell(0, 300), cell(299, 500)], progress(), "cells overlap"),
        ([cell(-10, 500)], progress(), "before the time that is counted"),
        ([], progress((0, 501)), "beyond what was begun or the watermark"),
        ([], progress((120, 500), begin=120), "0 ms told as lost, it should be 120"),
        ([cell(0, 15_000, final=True)], progress(watermark=15_000), "final 5000 ms after it was sent"),
    ],
)
def test_time_that_is_not_in_order(
    ledger: WatchedLedger, cells: list[Cell], after: Progress, told: str
) -> None:
    with pytest.raises(Violated, match=told):
        ledger.commit(Changes(cells=cells, progress=after))


def test_time_made_final_that_nobody_asked_for(ledger: WatchedLedger, guard: Guard) -> None:
    guard.history.asked = TimeRanges([(T, T + 200), (T + 210, NOW)])
    with pytest.raises(Violated, match="without having been asked for"):
        ledger.commit(Changes(cells=[cell(0, 500, final=True)], progress=progress()))


@pytest.mark.parametrize(
    ("query", "shown_ms", "held"),
    [
        pytest.param(Query(T, T + 400), NOW - 10_000, True, id="shown before"),
        pytest.param(Query(T, T + 400), NOW + 10_000, False, id="shown by the read"),
        pytest.param(Query(T + 7, T + 400), NOW + 10_000, True, id="shown by a read of a part"),
    ],
)
def test_a_final_cell_keeps_what_the_log_lacks_only(
    ledger: WatchedLedger, guard: Guard, query: Query, shown_ms: int, held: bool
) -> None:
    kept = np.array([(known.keys(["gone"], np.array([T + 7]))[0], T + 7, 0)], known.SETTLED)
    guard.history.last_shown["gone", T + 7] = query, shown_ms
    changes = Changes(
        cells=[cell(0, 400, final=True)],
        settled={T: known.encode_settled(kept, T)},
        progress=progress((400, 500)),
    )
    with nullcontext() if held else pytest.raises(Violated, match="the log still has them"):
        ledger.commit(changes)


def test_lost_time_is_told_to_the_millisecond(ledger: WatchedLedger, guard: Guard) -> None:
    with pytest.raises(Violated, match="121 ms told as lost, it should be 120"):
        ledger.commit(lost("0.121"))
    assert guard.lost == TimeRanges()


def test_time_told_as_lost_is_remembered(ledger: WatchedLedger, guard: Guard) -> None:
    ledger.commit(lost("0.120"))
    assert guard.lost == TimeRanges([(T, T + 120)])


def test_final_time_that_a_clock_repeats_is_lost_once(ledger: WatchedLedger, guard: Guard) -> None:
    ledger.commit(Changes(cells=[cell(0, 400, final=True)], progress=progress((400, 500))))
    back = Changes(progress=progress(watermark=100))
    back.add(Series.of(catalog.LOST.name, reason="clock_set_back"), Decimal("0.300"))
    ledger.commit(back)
    ledger.commit(Changes(gone={T}, progress=progress((400, 500), begin=400)))
    assert guard.lost == TimeRanges([(T + 100, T + 400)])


def test_a_counter_that_falls(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="falls by 1"):
        ledger.commit(Changes(counters={SENT: -1}))


def test_messages_that_are_sent_and_nowhere() -> None:
    bank = {"general_status": "DELIVERED", "error_group": "OK", "entity_id": "bank", "application_id": ""}
    for counters in ({SENT: 1}, {SENT: 1, Series.of(catalog.MESSAGES.name, **bank): 1}):
        with pytest.raises(Violated, match="are sent but nowhere"):
            conserves(counters, {})


def test_fewer_than_no_messages_in_flight() -> None:
    with pytest.raises(Violated, match="-1 messages in flight"):
        is_not_negative({Series.of(catalog.IN_FLIGHT.name, general_status="PENDING"): -1})


def test_memory_that_is_not_what_sqlite_holds(ledger: WatchedLedger, guard: Guard) -> None:
    ledger.counters = {REQUESTS: 2}
    with pytest.raises(Violated, match="counters in memory"):
        mirrors(ledger, guard.stored())


def test_a_cell_whose_messages_are_not_kept(ledger: WatchedLedger, guard: Guard) -> None:
    ledger.commit(Changes(cells=[cell(0, 500, messages=1)], progress=progress()))
    with pytest.raises(Violated, match="0 messages are kept of"):
        mirrors(ledger, guard.stored())


def test_only_the_commit_under_way_may_be_there_after_a_crash(store: SqliteStore, guard: Guard) -> None:
    WatchedLedger(store, "main", "instagram", guard)
    changes = Changes(counters={REQUESTS: 1})
    Ledger(store, "main", "instagram").commit(changes)
    unknown = replace(guard)
    guard.committing(changes)
    WatchedLedger(store, "main", "instagram", guard)
    assert guard.counters == {REQUESTS: 1}
    with pytest.raises(Violated, match="something else than the last commit left"):
        WatchedLedger(store, "main", "instagram", unknown)


def test_unread_time_that_has_left_the_log(ledger: WatchedLedger, guard: Guard) -> None:
    began_ms = T + LOG_KEEPS_MS + EDGE_SLACK_MS
    guard.poll_ended(began_ms, certain=True)
    with pytest.raises(Violated, match="to be read although it left the log"):
        guard.poll_ended(began_ms + 1, certain=True)
