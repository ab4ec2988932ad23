"""A state moves from SQLite to PostgreSQL and back, and nothing of it is lost."""

from pathlib import Path

import pytest

from infobip_exporter.config.schema import State
from infobip_exporter.errors import ConfigError, LedgerError
from infobip_exporter.ledger import copying
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.opening import open_store
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.ledger.store import Writes
from infobip_exporter.model.series import Series
from infobip_exporter.state_command import state as run
from infobip_sandbox.postgres import Postgres
from tests.databases import needs_postgres, new_database
from tests.ledger.test_inspect import changes

pytestmark = needs_postgres


@pytest.fixture
def source(tmp_path: Path) -> State:
    """An SQLite file with two feeds in it, one of them with something of everything."""
    state = State(f"sqlite:///{tmp_path / 'source.db'}")
    store = SqliteStore.open(state.file)
    ledger = Ledger(store, "main", "instagram")
    ledger.commit(changes())
    ledger.save_released({Series.of("infobip_messages_sent_total", entity_id="\x00☃")})
    more = Writes(
        settled={2000: bytes(range(256))},
        settled_by_hour={(7, "D\x00LIVERED"): 3},
        rejected={b"row": 4, b"\x00": 5},
    )
    store.commit(ledger._held, more)
    Ledger(store, "main", "sms")
    store.close()
    return state


@pytest.fixture
def database(server: Postgres) -> State:
    return State(server.url(new_database(server)))


def test_there_and_back_again(
    source: State, database: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(source, "copy", database.url) == 0
    assert f"ok    {database.place}, 2 feeds" in capsys.readouterr().out
    back = State(f"sqlite:///{tmp_path / 'back.db'}")
    assert run(database, "copy", back.url) == 0
    with copying.reading(source) as first, copying.reading(back) as last:
        copying._compare(first, list(first.feeds()), last)
    assert run(database) == run(database, "check") == 0
    shown = capsys.readouterr().out
    assert "sent         4" in shown
    assert f"ok    {database.place}" in shown
    assert f"{database.place}: schema 1, " in shown


def test_what_is_wrong_in_a_database_is_found(
    source: State, database: State, server: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    run(source, "copy", database.url)
    name = database.url.partition("?")[0].rpartition("/")[2]
    server.run("UPDATE series SET value = '5' WHERE family = 'infobip_messages_sent_total'", name)
    assert run(database, "check") == 1
    assert "5 sent are not 2 settled + 1 unresolved + 1 in flight" in capsys.readouterr().out


def test_a_place_that_has_counted_already_is_left_alone(source: State, database: State) -> None:
    run(source, "copy", database.url)
    with pytest.raises(LedgerError, match=r"holds main/instagram already: name a new place"):
        run(source, "copy", database.url)
    with pytest.raises(ConfigError, match="must name another place"):
        run(source, "copy", source.url)


def test_a_state_in_use_is_not_copied(source: State, database: State, tmp_path: Path) -> None:
    store = SqliteStore.open(source.file)
    with pytest.raises(LedgerError, match="in use by process"):
        run(source, "copy", database.url)
    store.close()
    run(source, "copy", database.url)
    running, replica = open_store(database)
    assert replica is not None
    replica[0].join()
    with pytest.raises(LedgerError, match="stop these replicas first"):
        run(database, "copy", f"sqlite:///{tmp_path / 'other.db'}")
    running.close()


def test_a_database_has_its_own_backups() -> None:
    with pytest.raises(ConfigError, match="pg_dump"):
        run(State("postgresql://h/d"), "backup", "x")


def test_a_database_without_a_ledger_is_told(database: State) -> None:
    with pytest.raises(LedgerError, match="holds no ledger yet"):
        run(database)
