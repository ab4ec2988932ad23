"""What every store must do: the same tests for each implementation."""

import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.leases import Lease, Leases
from infobip_exporter.ledger.postgres import PostgresStore
from infobip_exporter.ledger.postgres_connections import Connections
from infobip_exporter.ledger.postgres_schema import migrate
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.ledger.store import Messages, Saved, Store, Writes
from infobip_exporter.metrics.zero_start import Moment
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Histogram, Series, Value
from infobip_sandbox.postgres import Postgres
from tests.databases import needs_postgres, new_database

SERIES = Series.of("infobip_cost_total", currency="EUR", entity_id='a"\n☃\x00')
KINDS = ("sqlite", *(pytest.param(each, marks=needs_postgres) for each in ("postgresql", "pgbouncer")))


class OwningStore(PostgresStore):
    """Owns every feed that is asked for, without waiting for anybody."""

    def __init__(self, url: str) -> None:
        connections = Connections(url)
        lease = Lease(15, lambda: Moment(0, 0))
        super().__init__(connections, lease)
        migrate(connections)
        self.leases = Leases(connections, lease, "test")

    def load(self, account: str, channel: str) -> Saved:
        self.leases.join()
        self.leases.add({(account, channel)})
        [row] = [each for each in self.leases.look().feeds if each.key == (account, channel)]
        self.leases.take([row])
        return super().load(account, channel)


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same store again, as the next process would."""
    opened: list[Store] = []
    url, path = "", tmp_path / "state.db"
    if request.param != "sqlite":
        server: Postgres = request.getfixturevalue("server")
        name = new_database(server)
        url = server.url(name)
        if request.param == "pgbouncer":
            url = f"postgresql:///{name}?user=postgres&{request.getfixturevalue('pooled')}"

    def open_again() -> Store:
        for each in opened:
            each.close()
        opened[:] = [SqliteStore.open(path) if request.param == "sqlite" else OwningStore(url)]
        return opened[0]

    yield open_again
    for each in opened:
        each.close()


def test_what_was_committed_is_there_for_the_next_process(reopen: Callable[[], Store]) -> None:
    store = reopen()
    feed = store.load("main", "sms").held
    cell = Cell(10, 20, messages=2, final=True, ids=2**64 - 1, outcomes=2**63)
    values: dict[Series, Value] = {
        SERIES: Decimal("0.10"),
        Series("infobip_messages_total"): 3,
        Series("h"): Histogram((1, 2), Decimal("1.5")),
    }
    store.commit(
        feed,
        Writes(
            values,
            cells=[cell],
            settled={10: b"s"},
            in_flight_messages={10: b"f"},
            settled_by_hour={(7, "DELIVERED"): 2},
            rejected={b"row": 9},
            progress=b"far",
        ),
    )
    store.save_released(feed, {SERIES})
    store.save_released(feed, {SERIES})
    store = reopen()
    saved = store.load("main", "sms")
    assert (saved.progress, saved.series, saved.cells) == (b"far", values, [cell])
    assert saved.settled_by_hour == {(7, "DELIVERED"): 2}
    assert store.messages(feed, [10, 99]) == {10: Messages(b"s", b"f"), 99: Messages()}
    assert store.known_rejected(feed, [b"row", b"other"]) == {b"row"}
    assert store.released(feed) == {SERIES}


def test_feeds_do_not_share_anything(reopen: Callable[[], Store]) -> None:
    store = reopen()
    sms, viber = (store.load("main", channel).held for channel in ("sms", "viber"))
    store.commit(sms, Writes({SERIES: 1}, cells=[Cell(0, 1)], settled={0: b"x"}, progress=b"p"))
    other = store.load("main", "viber")
    assert (other.progress, other.series, other.cells) == (b"", {}, [])
    assert store.messages(viber, [0]) == {0: Messages()}


def test_a_cell_that_goes_takes_its_messages_along(reopen: Callable[[], Store]) -> None:
    store = reopen()
    feed = store.load("main", "sms").held
    store.commit(feed, Writes(cells=[Cell(0, 10), Cell(10, 20)], settled={0: b"a", 10: b"b"}))
    store.commit(feed, Writes(gone=[0, 10], cells=[Cell(10, 30)], in_flight_messages={10: b"f"}))
    assert store.load("main", "sms").cells == [Cell(10, 30)]
    assert store.messages(feed, [0, 10]) == {0: Messages(), 10: Messages(b"", b"f")}


def test_a_commit_that_fails_has_written_nothing(reopen: Callable[[], Store]) -> None:
    store = reopen()
    feed = store.load("main", "sms").held
    unwritable = {0: object()}
    with pytest.raises((LedgerError, sqlite3.Error, TypeError)):
        store.commit(feed, Writes({SERIES: 1}, cells=[Cell(0, 1)], settled=unwritable))  # type: ignore[arg-type]
    assert store.load("main", "sms").series == {}


def test_a_state_of_another_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE old (a)")
    other.close()
    with pytest.raises(LedgerError, match=r"state\.db.*lookback to 48h"):
        SqliteStore.open(path)
    assert sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall() == [("old",)]
