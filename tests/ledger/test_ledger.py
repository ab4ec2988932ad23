"""A feed's ledger: what was committed is there after any end, what was not leaves no trace."""

import itertools
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger import store
from infobip_exporter.ledger.changes import Changes, Remembered
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress, decode, encode
from infobip_exporter.ledger.schema import MIGRATIONS
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.snapshot import Histogram, InFlight, Series
from infobip_exporter.metrics.zero_start import Mark
from infobip_exporter.reading.dialogue import Takes
from infobip_exporter.reading.spans import Span, SpanSet

SENT = Series("infobip_messages_sent_total", ('sh"op\n', "ünïcode"))
COST = Series("infobip_cost_total", ("EUR", "DELIVERED", "", ""))
DURATION = Series("infobip_delivery_duration_seconds", ("DELIVERED",))
EVERYTHING = Span(0, 1 << 60)


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every store that a test opens is closed after it."""
    opened: list[Store] = []
    real = Store.open

    def tracked(url: str) -> Store:
        opened.append(real(url))
        return opened[-1]

    monkeypatch.setattr(Store, "open", tracked)
    yield
    for each in opened:
        each.close()


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def reopened(tmp_path: Path) -> Ledger:
    return Ledger(Store.open(url(tmp_path)), "main", "instagram")


def some_changes() -> Changes:
    return Changes(
        counters={SENT: 3, COST: Decimal("0.00787679")},
        histograms={DURATION: Histogram((1, 0, 2), Decimal("1.5"))},
        in_flight=Counter({InFlight("PENDING", "", ""): 2}),
        in_flight_by_minute=Counter({0: 2}),
        remember={
            "p1": Remembered(1000, "PENDING", "", "", settled=False),
            "p2": Remembered(2000, "PENDING", "", "", settled=False),
            "s1": Remembered(1500, "DELIVERED", "", "", settled=True),
        },
        volume=Counter({7: 3}),
        settled_by_hour=Counter({(5, "DELIVERED"): 1}),
        rejected={b"bad": 1000},
        progress=Progress(frontier_ms=5000, unread=SpanSet([(1, 2)]), open=SpanSet([(3, 5000)])),
    )


def seen(ledger: Ledger) -> list[object]:
    return [
        ledger.counters, ledger.histograms, ledger.in_flight, ledger.volume, ledger.settled_by_hour,
        ledger.progress, ledger.oldest_in_flight_ms, ledger.remembered(EVERYTHING),
        ledger.known_rejected([b"bad", b"new"]), ledger.in_flight_by_minute,
    ]  # fmt: skip


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    more = some_changes()
    ledger.commit(Changes(counters=more.counters, histograms=more.histograms))
    before = seen(ledger)
    assert ledger.counters == {SENT: 6, COST: Decimal("0.01575358")}
    assert ledger.histograms == {DURATION: Histogram((2, 0, 4), Decimal("3.0"))}
    ledger.store.close()
    assert seen(reopened(tmp_path)) == before


def test_a_commit_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    before = seen(ledger)
    ledger.store.connection.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON feed BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    with pytest.raises(LedgerError, match="no room"):
        ledger.commit(some_changes())
    assert seen(ledger) == before
    ledger.store.close()
    again = reopened(tmp_path)
    assert seen(again) == before
    again.store.connection.execute("DROP TRIGGER full")
    again.commit(some_changes())
    assert again.counters[SENT] == 6


def test_whichever_statement_of_a_commit_fails_it_can_be_done_again(tmp_path: Path) -> None:
    class Failing:
        """A cursor of which one call fails, as on a disk that gives out for a moment."""

        def __init__(self, cursor: sqlite3.Cursor, calls: Iterator[int], at: int) -> None:
            self._cursor, self._calls, self._at = cursor, calls, at

        def _count(self) -> None:
            if next(self._calls) == self._at:
                raise sqlite3.OperationalError("disk I/O error")

        def execute(self, *parameters: object) -> sqlite3.Cursor:
            self._count()
            return self._cursor.execute(*parameters)  # type: ignore[arg-type]

        def executemany(self, *parameters: object) -> sqlite3.Cursor:
            self._count()
            return self._cursor.executemany(*parameters)  # type: ignore[arg-type]

    class Connection:
        def __init__(self, real: sqlite3.Connection, at: int) -> None:
            self._real, self._at, self._calls = real, at, itertools.count()

        def cursor(self) -> Failing:
            return Failing(self._real.cursor(), self._calls, self._at)

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    failed = 0
    for at in range(30):
        ledger = Ledger(Store.open(f"sqlite:///{tmp_path / str(at)}.db"), "main", "instagram")
        real = ledger.store.connection
        ledger.store.connection = Connection(real, at)  # type: ignore[assignment]
        try:
            ledger.commit(some_changes())
        except LedgerError:
            failed += 1
            ledger.commit(some_changes())
        ledger.store.connection = real
        assert ledger.counters[SENT] == 3
        assert ledger.in_flight == {InFlight("PENDING", "", ""): 2}
        assert seen(Ledger(ledger.store, "main", "instagram")) == seen(ledger)
    assert failed >= 9


def test_a_message_that_settled_is_in_flight_no_more(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    first = Remembered(1000, "PENDING", "", "", settled=False)
    ledger.commit(
        Changes(
            forget={"p1": first},
            in_flight=Counter({InFlight("PENDING", "", ""): -1}),
            in_flight_by_minute=Counter({0: -1}),
        )
    )
    assert [name for name, _ in ledger.in_flight_between(EVERYTHING, 10)] == ["p2"]
    assert ledger.oldest_in_flight_ms == 2000
    assert ledger.in_flight == {InFlight("PENDING", "", ""): 1}
    ledger.store.close()
    assert reopened(tmp_path).in_flight == {InFlight("PENDING", "", ""): 1}


def test_a_closed_span_forgets_its_settled_messages_and_keeps_those_in_flight(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    ledger.commit(Changes(forget_settled=[Span(1500, 1501)]))
    assert set(ledger.remembered(EVERYTHING)) == {"p1", "p2"}


def test_messages_in_flight_are_given_oldest_first_and_no_more_than_asked_for(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    assert [name for name, _ in ledger.in_flight_between(EVERYTHING, 1)] == ["p1"]
    assert [name for name, _ in ledger.in_flight_between(Span(1000, 2000), 10)] == ["p1"]
    assert [name for name, _ in ledger.in_flight_between(Span(1001, 2001), 10)] == ["p2"]


def test_pruning_lets_go_of_what_no_longer_serves(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    ledger.commit(Changes(prune_before_ms=20 * 3_600_000))
    for one in (ledger, None):
        if one is None:
            ledger.store.close()
        shown = one or reopened(tmp_path)
        assert (shown.volume, shown.settled_by_hour) == ({}, {})
        assert shown.known_rejected([b"bad"]) == set()
        assert set(shown.remembered(EVERYTHING)) == {"p1", "p2"}
        assert shown.counters[SENT] == 3


def test_feeds_share_a_file_and_nothing_else(tmp_path: Path) -> None:
    opened = Store.open(url(tmp_path))
    first, second = Ledger(opened, "main", "instagram"), Ledger(opened, "main", "sms")
    first.commit(some_changes())
    assert second.counters == {}
    assert Ledger(opened, "main", "sms").counters == {}
    assert Ledger(opened, "main", "instagram").counters[SENT] == 3


def test_marks_are_kept(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.save_marks({SENT: Mark(5, released=False), COST: Mark(6, released=True)})
    ledger.save_marks({SENT: Mark(5, released=True)})
    assert ledger.marks() == {SENT: Mark(5, released=True), COST: Mark(6, released=True)}


def test_progress_is_written_and_read_back_whole() -> None:
    progress = Progress(
        frontier_ms=9,
        unread=SpanSet([(1, 3), (5, 7)]),
        open=SpanSet([(7, 9)]),
        looked_ms={30_000: 4},
        takes=Takes.NEWEST,
        last_sent_ms=8,
        last_success_s=1.5,
        request_times_ms=(1, 2),
    )
    assert decode(encode(progress)) == progress
    assert decode(encode(Progress())) == Progress()


def test_everything_is_read_up_to_the_oldest_unread_moment() -> None:
    assert Progress().read_up_to_ms is None
    assert Progress(frontier_ms=9).read_up_to_ms == 9
    assert Progress(frontier_ms=9, unread=SpanSet([(1, 3), (5, 7)])).read_up_to_ms == 1


def test_the_file_holds_up_against_a_power_cut(tmp_path: Path) -> None:
    connection = Store.open(url(tmp_path)).connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_second_exporter_is_told_who_has_the_file(tmp_path: Path) -> None:
    opened = Store.open(url(tmp_path))
    with pytest.raises(LedgerError, match=rf"in use by process {os.getpid()}: end that exporter first"):
        Store.open(url(tmp_path))
    opened.close()
    Store.open(url(tmp_path)).close()


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database, but somebody may want it back" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="the file is not a ledger"):
        Store.open(url(tmp_path))
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Store.open(url(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="written by a newer exporter"):
        Store.open(url(tmp_path))


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="check that the directory exists"):
        Store.open(f"sqlite:///{tmp_path}/nowhere/ledger.db")


def test_a_migration_that_fails_halfway_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(url(tmp_path)).close()
    broken = "CREATE TABLE extra (x);\nCREATE TABLE extra (x);"
    monkeypatch.setattr(store, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(LedgerError, match="extra already exists"):
        Store.open(url(tmp_path))
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall()


def test_a_file_that_is_removed_while_in_use_is_written_anew_with_all_its_counts(tmp_path: Path) -> None:
    for removed in (("ledger.db", "ledger.db-wal", "ledger.db-shm"), ("ledger.db",), ("ledger.db-wal",)):
        ledger = reopened(tmp_path)
        ledger.commit(some_changes())
        before = seen(ledger)
        for name in removed:
            (tmp_path / name).unlink()
        ledger.commit(Changes(volume=Counter({8: 1})))
        assert ledger.volume == {**dict(before[3]), 8: 1}  # type: ignore[call-overload]
        after = seen(ledger)
        # As after kill -9: nothing is written at closing.
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("ledger.db", "ledger.db-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        assert seen(reopened(copy)) == after
        ledger.store.close()
        for file in (*copy.iterdir(), *tmp_path.glob("ledger.db*")):
            file.unlink()
        copy.rmdir()


def test_a_removed_folder_is_told_until_it_is_there_again(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    ledger = reopened(folder)
    ledger.commit(some_changes())
    before = seen(ledger)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    for _ in range(2):
        with pytest.raises(LedgerError, match="check that the directory exists"):
            ledger.commit(some_changes())
    assert seen(ledger) == before
    folder.mkdir()
    ledger.commit(Changes())
    ledger.store.close()
    assert seen(reopened(folder)) == before


def test_a_file_that_another_has_replaced_while_in_use_is_told_until_it_is_back(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    file = tmp_path / "ledger.db"
    file.rename(tmp_path / "old.db")
    file.write_bytes(b"another")
    with pytest.raises(LedgerError, match="another file has taken the place of ledger"):
        ledger.commit(some_changes())
    assert file.read_bytes() == b"another"
    (tmp_path / "old.db").replace(file)
    ledger.commit(some_changes())
    assert ledger.counters[SENT] == 6


def test_a_damaged_page_is_told_when_it_is_read(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    connection = ledger.store.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    counters = ledger.counters
    file = tmp_path / "ledger.db"
    file.write_bytes(file.read_bytes()[:4096] + os.urandom(file.stat().st_size - 4096))
    connection.execute("PRAGMA cache_size = 0")
    connection.execute("PRAGMA shrink_memory")
    with pytest.raises(LedgerError, match="the file is damaged: state check says where; end the exporter"):
        ledger.commit(some_changes())
    assert ledger.counters == counters


def test_an_exporter_whose_lock_file_was_removed_keeps_others_out_from_the_next_commit_on(
    tmp_path: Path,
) -> None:
    ledger = reopened(tmp_path)
    for removed in (["ledger.db.lock"], ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"]):
        for name in removed:
            (tmp_path / name).unlink()
        ledger.commit(some_changes())
        with pytest.raises(LedgerError, match=f"in use by process {os.getpid()}"):
            Store.open(url(tmp_path))
    assert ledger.counters[SENT] == 6
    ledger.store.close()
    assert reopened(tmp_path).counters[SENT] == 6


def test_an_exporter_writes_nothing_more_once_another_has_its_state(tmp_path: Path) -> None:
    first = reopened(tmp_path)
    first.commit(some_changes())
    (tmp_path / "ledger.db.lock").unlink()
    second = reopened(tmp_path)
    second.commit(some_changes())
    for _ in range(2):
        with pytest.raises(LedgerError, match="in use by process"):
            first.commit(some_changes())
    second.store.close()
    # Its counts are no longer those of the file: writing them would take away what the second has counted.
    for _ in range(2):
        with pytest.raises(LedgerError, match="another exporter has written into it while in use: restart"):
            first.commit(some_changes())
    assert first.counters[SENT] == 3
    first.store.close()
    assert reopened(tmp_path).counters[SENT] == 6


def test_what_other_programs_do_to_the_file_is_let_be(tmp_path: Path) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"):
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
            connection.execute(statement)
        ledger.commit(some_changes())
    assert ledger.counters[SENT] == 9


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE counter SET labels = '['",
        "UPDATE counter SET value = 'many'",
        "UPDATE histogram SET counts = '[1, '",
        "UPDATE histogram SET counts = 'null'",
        "UPDATE feed SET progress = 'nothing'",
    ],
)
def test_a_value_that_no_exporter_wrote_is_told(tmp_path: Path, statement: str) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    ledger.store.close()
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.execute(statement)
    with pytest.raises(LedgerError, match="holds a value that no exporter wrote"):
        reopened(tmp_path)


def test_an_older_schema_is_brought_up_to_date_with_all_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = reopened(tmp_path)
    ledger.commit(some_changes())
    before = seen(ledger)
    ledger.store.close()
    more = "ALTER TABLE feed ADD COLUMN note TEXT;\nUPDATE feed SET note = account || '/' || channel;"
    monkeypatch.setattr(store, "MIGRATIONS", (*MIGRATIONS, more))
    newer = reopened(tmp_path)
    assert seen(newer) == before
    assert newer.store.connection.execute("SELECT note FROM feed").fetchall() == [("main/instagram",)]
    newer.store.close()
    # The version of before takes it no more.
    monkeypatch.setattr(store, "MIGRATIONS", MIGRATIONS)
    with pytest.raises(LedgerError, match="written by a newer exporter"):
        Store.open(url(tmp_path))
