"""Each invariant is seen to be broken when it is."""

import sqlite3
from collections import Counter
from decimal import Decimal

import pytest

from infobip_exporter.ledger.changes import Changes, Remembered
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import InFlight, Series
from infobip_exporter.reading.spans import Span, SpanSet
from simulation.api import Witness
from simulation.check import Guard, WatchedLedger, conserves, is_not_negative, mirrors
from simulation.time import VirtualTime
from simulation.trace import Trace
from simulation.violation import Violated

LATE_MS = 100
SENT = Series(catalog.SENT.name, ("shop", ""))
PENDING = InFlight("PENDING", "shop", "")


@pytest.fixture
def store() -> Store:
    store = Store(sqlite3.connect(":memory:", isolation_level=None), "memory")
    store.migrate()
    return store


@pytest.fixture
def guard() -> Guard:
    """A feed that began at 0, a second ago; its time was asked for just now."""
    time = VirtualTime(begins_ms=0, ends_s=1000.0, now_s=1.0)
    witness = Witness(asked=SpanSet([(0, 1000)]), last_asked_ms=1000)
    return Guard(time, witness, Trace(), late_ms=LATE_MS)


@pytest.fixture
def ledger(store: Store, guard: Guard) -> WatchedLedger:
    ledger = WatchedLedger(store, "main", "instagram", guard)
    ledger.commit(Changes(progress=Progress(frontier_ms=500, unread=SpanSet([(0, 500)]))))
    return ledger


def goes_on(
    ledger: Ledger, unread: list[tuple[int, int]], open_: list[tuple[int, int]], frontier_ms: int
) -> None:
    ledger.commit(
        Changes(progress=Progress(frontier_ms=frontier_ms, unread=SpanSet(unread), open=SpanSet(open_)))
    )


def test_reading_on_is_fine(ledger: WatchedLedger, guard: Guard) -> None:
    goes_on(ledger, [(500, 700)], [(400, 500)], 700)
    assert guard.closed == SpanSet([(0, 400)])
    assert guard.begin_ms == 0


def test_time_closed_before_late_records_can_have_turned_up(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="closed 50 ms before"):
        goes_on(ledger, [], [], 950)


def test_time_closed_without_a_question(ledger: WatchedLedger, guard: Guard) -> None:
    guard.witness.asked = SpanSet([(0, 200), (210, 1000)])
    with pytest.raises(Violated, match=r"without having been asked for: SpanSet\(\[\(200, 210\)\]\)"):
        goes_on(ledger, [], [], 500)


def test_time_to_be_read_again_that_was_read_for_good(ledger: WatchedLedger) -> None:
    goes_on(ledger, [], [(400, 500)], 500)
    with pytest.raises(Violated, match="to be read again"):
        goes_on(ledger, [(399, 400)], [(400, 500)], 500)


def test_unread_and_open_in_one_another(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="overlap"):
        goes_on(ledger, [(300, 500)], [(499, 500)], 500)


def test_a_span_beyond_the_frontier(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="beyond the frontier"):
        goes_on(ledger, [(0, 501)], [], 500)


def test_a_frontier_in_the_future(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="1 ms in the future"):
        goes_on(ledger, [(0, 1001)], [], 1001)


def test_a_frontier_that_goes_back(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="went back"):
        goes_on(ledger, [(0, 499)], [], 499)


def test_time_told_as_lost_is_neither_closed_nor_early(ledger: WatchedLedger, guard: Guard) -> None:
    lost = Changes(progress=Progress(frontier_ms=500, unread=SpanSet([(120, 500)])))
    lost.add(Series(catalog.LOST.name, ("expired",)), Decimal("0.120"))
    ledger.commit(lost)
    assert guard.lost == SpanSet([(0, 120)])
    assert not guard.closed


def test_more_told_as_lost_than_is_gone(ledger: WatchedLedger) -> None:
    lost = Changes(progress=Progress(frontier_ms=500, unread=SpanSet([(120, 500)])))
    lost.add(Series(catalog.LOST.name, ("expired",)), Decimal("0.121"))
    with pytest.raises(Violated, match="121 ms told as lost, but only 120"):
        ledger.commit(lost)


def test_a_counter_that_falls(ledger: WatchedLedger) -> None:
    with pytest.raises(Violated, match="falls by 1"):
        ledger.commit(Changes(counters={SENT: -1}))


def test_a_message_sent_and_nowhere() -> None:
    with pytest.raises(Violated, match="1 messages"):
        conserves({SENT: 1}, {})


def test_messages_may_not_be_balanced_over_entities() -> None:
    other = Series(catalog.MESSAGES.name, ("DELIVERED", "OK", "bank", ""))
    with pytest.raises(Violated):
        conserves({SENT: 1, other: 1}, {})


def test_less_than_nothing_in_flight() -> None:
    with pytest.raises(Violated, match="-1 messages in flight"):
        is_not_negative({PENDING: -1})


def in_flight(ledger: Ledger) -> None:
    ledger.commit(
        Changes(
            counters={SENT: 1},
            in_flight=Counter({PENDING: 1}),
            in_flight_by_minute=Counter({0: 1}),
            remember={"a": Remembered(10, *PENDING, settled=False)},
        )
    )


def test_a_ledger_whose_memory_is_not_what_sqlite_holds(ledger: WatchedLedger) -> None:
    in_flight(ledger)
    mirrors(ledger)
    ledger.counters = {SENT: 2}
    with pytest.raises(Violated, match="counters in memory"):
        mirrors(ledger)


def test_a_settled_message_remembered_in_closed_time(ledger: WatchedLedger) -> None:
    goes_on(ledger, [], [(400, 500)], 500)
    ledger.commit(Changes(remember={"a": Remembered(399, "DELIVERED", "shop", "", settled=True)}))
    with pytest.raises(Violated, match="remembered in time that is closed"):
        mirrors(ledger)


def test_a_commit_that_was_lost_with_its_process(store: Store, ledger: WatchedLedger, guard: Guard) -> None:
    in_flight(ledger)
    with store.transaction() as cursor:
        cursor.execute("UPDATE counter SET value = 0")
    with pytest.raises(Violated, match="something else than the last commit left"):
        WatchedLedger(store, "main", "instagram", guard)


def test_a_commit_of_which_the_process_never_learnt_is_taken_over(
    store: Store, ledger: WatchedLedger, guard: Guard
) -> None:
    changes = Changes(
        counters={SENT: 1},
        in_flight=Counter({PENDING: 1}),
        in_flight_by_minute=Counter({0: 1}),
        remember={"a": Remembered(10, *PENDING, settled=False)},
    )
    Ledger(store, "main", "instagram").commit(changes)
    guard.committing(changes)
    again = WatchedLedger(store, "main", "instagram", guard)
    assert again.counters == guard.counters == {SENT: 1}


def test_time_left_to_read_that_has_left_the_log(guard: Guard) -> None:
    old = Progress(frontier_ms=10, unread=SpanSet([Span(0, 10)]))
    guard.poll_ended(old, began_ms=48 * 3_600_000 + 5000)
    with pytest.raises(Violated, match="left the log"):
        guard.poll_ended(old, began_ms=48 * 3_600_000 + 5001)
