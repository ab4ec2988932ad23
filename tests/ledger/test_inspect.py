"""What a state holds can be looked at and verified while it is in use, and nothing is changed by it."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from infobip_exporter.config.schema import State
from infobip_exporter.counting.known import InFlight, encode_in_flight
from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger import inspect, sqlite_contents
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Histogram, Series
from infobip_exporter.model.time_range import TimeRanges
from infobip_exporter.state_command import state

SENT = "infobip_messages_sent_total"
MESSAGES = "infobip_messages_total"
SHOP = {"entity_id": "shop", "application_id": ""}


def changes() -> Changes:
    return Changes(
        counters={
            Series.of(SENT, entity_id="shop", application_id=""): 4,
            Series.of(
                MESSAGES, general_status="DELIVERED", error_group="OK", entity_id="shop", application_id=""
            ): 2,
            Series.of(
                "infobip_messages_unresolved_total",
                general_status="PENDING",
                entity_id="shop",
                application_id="",
            ): 1,
            Series.of("infobip_exporter_lost_seconds_total", reason="expired"): Decimal("1.5"),
        },
        histograms={
            Series.of("infobip_delivery_duration_seconds", general_status="DELIVERED"): Histogram(
                (2, *[0] * 19), Decimal(1)
            )
        },
        in_flight=Counter({Series.of("infobip_messages_in_flight", general_status="PENDING", **SHOP): 1}),
        cells=[
            Cell(2000, 3000, messages=3, read_ms=9000, final=True),
            Cell(3000, 5000, messages=1, in_flight=1, oldest_in_flight_ms=4000, read_ms=9000),
        ],
        in_flight_messages={
            3000: encode_in_flight({("p", 4000): InFlight("PENDING", tuple(SHOP.items()))}, 3000)
        },
        progress=Progress(
            begin_ms=1000,
            watermark_ms=90_000,
            unread=TimeRanges([(1000, 2000)]),
            last_success_s=60.0,
        ),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A feed's ledger in use, with something in it."""
    store = SqliteStore.open(path)
    ledger = Ledger(store, "main", "instagram")
    ledger.commit(changes())
    yield ledger
    store.close()


def connection_of(ledger: Ledger) -> sqlite3.Connection:
    assert isinstance(ledger._store, SqliteStore)
    return ledger._store._connection


def run(path: Path, *words: str, style: str = "text") -> int:
    return state(State(f"sqlite:///{path}"), *words, style=style)


def test_what_is_held_is_shown_in_words(
    ledger: Ledger, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: schema 1, ")
    assert lines == [
        "",
        "main/instagram",
        "  sent         4",
        "  settled      DELIVERED 2",
        "  unresolved   PENDING 1",
        "  in flight    PENDING 1, the oldest sent 1970-01-01 00:00:04Z",
        "  lost         expired 1.5 s",
        "  audit        0",
        "  unread       1 s in 1, from 1970-01-01 00:00:01Z to 1970-01-01 00:00:02Z",
        "  provisional  2 s in 1, from 1970-01-01 00:00:03Z to 1970-01-01 00:00:05Z",
        "  read up to   1970-01-01 00:00:01Z",
        "  watermark    1970-01-01 00:01:30Z",
        "  last success 1970-01-01 00:01:00Z",
    ]


def test_what_is_held_is_shown_as_json(
    ledger: Ledger, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path, style="json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["path"] == str(path)
    assert shown["size_bytes"] > 4096
    [feed] = shown["feeds"]
    assert feed == {
        "account": "main", "channel": "instagram", "sent": 4, "settled": {"DELIVERED": 2}, "unresolved": {"PENDING": 1},
        "in_flight": {"PENDING": 1}, "oldest_in_flight_ms": 4000, "lost_s": {"expired": "1.5"}, "audit": {},
        "watermark_ms": 90000, "read_up_to_ms": 1000, "unread": [[1000, 2000]], "provisional": [[3000, 5000]],
        "last_success_s": 60.0,
    }  # fmt: skip


def test_a_state_nobody_has_open_is_shown_without_leaving_a_file_beside_it(
    ledger: Ledger, path: Path
) -> None:
    ledger._store.close()
    before = sorted(path.parent.iterdir())
    assert run(path) == run(path, "check") == 0
    assert sorted(path.parent.iterdir()) == before


def test_a_sound_state_is_found_sound(ledger: Ledger, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "check") == 0
    assert capsys.readouterr().out == f"ok    {path}\n"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            f"UPDATE series SET value = 5 WHERE family = '{SENT}'",
            "entity_id 'shop': 5 sent are not 2 settled + 1 unresolved + 1 in flight",
        ),
        ("UPDATE cell SET in_flight = 0", "1 messages are in flight, the cells have 0"),
        (f"UPDATE series SET labels = '{{\"a\": \"x\"}}' WHERE family = '{SENT}'", "has labels {'a': 'x'}"),
        (f"UPDATE series SET labels = '[1, 2]' WHERE family = '{SENT}'", "a value that no exporter wrote"),
        (f"UPDATE series SET labels = 'x' WHERE family = '{SENT}'", "a value that no exporter wrote"),
        (f"UPDATE series SET value = -1 WHERE family = '{SENT}'", "is -1, which is no total"),
        (f"UPDATE series SET value = 'x' WHERE family = '{SENT}'", "a value that no exporter wrote"),
        (f"UPDATE series SET value = '-1.5' WHERE family = '{SENT}'", "is -1.5, which is no total"),
        (f"UPDATE series SET family = 'other' WHERE family = '{SENT}'", "series other has labels"),
        ("UPDATE series SET value = '[[1], \"1\"]' WHERE value LIKE '[%'", "is damaged"),
        ("UPDATE series SET value = '[[1], \"x\"]' WHERE value LIKE '[%'", "a value that no exporter wrote"),
        ("UPDATE feed SET progress = '{'", "the progress can't be read"),
        (
            """UPDATE feed SET progress = '{"watermark_ms": 9, "unread": [[4, 5], [1, 2]]}'""",
            "unread ranges are empty, out of order or overlap",
        ),
        (
            """UPDATE feed SET progress = '{"watermark_ms": 9, "unread": [[5, 5]]}'""",
            "unread ranges are empty, out of order or overlap",
        ),
        (
            """UPDATE feed SET progress = '{"watermark_ms": 9, "unread": [[1, 10]]}'""",
            "unread ranges reach beyond the watermark",
        ),
        (
            """UPDATE feed SET progress = '{"watermark_ms": 9000, "unread": [[1000, 2500]]}'""",
            "time is unread and read at once",
        ),
        ("UPDATE cell SET until_ms = 3500 WHERE since_ms = 2000", "cells are empty or overlap"),
        ("UPDATE settled_by_hour SET feed_id = 7", "settled_by_hour: a row of no feed"),
    ],
)
def test_what_does_not_fit_together_is_told_in_a_line(
    ledger: Ledger, path: Path, capsys: pytest.CaptureFixture[str], statement: str, told: str
) -> None:
    connection = connection_of(ledger)
    connection.execute("INSERT INTO settled_by_hour SELECT id, 1, 'DELIVERED', 1 FROM feed")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(statement)
    assert run(path, "check") == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("FAIL  ")
    assert told in line
    assert run(path, "check", style="json") == 1
    [line] = json.loads(capsys.readouterr().out)["findings"]
    assert told in line


def test_damaged_pages_are_found(ledger: Ledger, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger._store.close()
    content = bytearray(path.read_bytes())
    content[2 * 4096 : 4 * 4096] = os.urandom(2 * 4096)
    path.write_bytes(content)
    assert run(path, "check") == 1
    assert "FAIL  " in capsys.readouterr().out


def test_a_backup_is_whole_and_never_written_over(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    assert run(path, "backup", str(target)) == 0
    with sqlite_contents.reading(target) as copied, sqlite_contents.reading(path) as contents:
        assert inspect.held(copied).feeds == inspect.held(contents).feeds
        assert list(inspect.findings(copied)) == []
    assert target.stat().st_mode & 0o077 == 0
    with pytest.raises(LedgerError, match="name a file that is not there yet"):
        run(path, "backup", str(target))


def test_a_backup_that_fails_leaves_nothing(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"no database at all\n" * 1000)
    with pytest.raises(LedgerError, match="not a"):
        run(path, "backup", str(tmp_path / "backup.db"))
    assert not (tmp_path / "backup.db").exists()


@pytest.mark.parametrize("words", [(), ("check",)])
@pytest.mark.parametrize(
    ("version", "told"), [(2, "written by a newer exporter"), (0, "set poll.lookback to 48h")]
)
def test_a_state_of_another_schema_is_told(
    ledger: Ledger, path: Path, words: tuple[str, ...], version: int, told: str
) -> None:
    connection_of(ledger).execute(f"PRAGMA user_version = {version}")
    with pytest.raises(LedgerError, match=told):
        run(path, *words)


def test_a_state_that_is_not_there_is_told_and_not_made(path: Path) -> None:
    with pytest.raises(LedgerError, match="no such file"):
        run(path)
    assert not path.exists()
