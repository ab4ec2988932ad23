"""What a state holds can be looked at and verified while it is in use, and nothing is changed by it."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from infobip_exporter.errors import ConfigError, LedgerError
from infobip_exporter.ledger import inspect
from infobip_exporter.ledger.changes import Changes, Remembered
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.store import Store
from infobip_exporter.model.series import Histogram, Series
from infobip_exporter.reading.spans import SpanSet
from infobip_exporter.state_command import state

SENT = "infobip_messages_sent_total"
MESSAGES = "infobip_messages_total"


def changes() -> Changes:
    return Changes(
        counters={
            Series(SENT, ("shop", "")): 4,
            Series(MESSAGES, ("DELIVERED", "OK", "shop", "")): 2,
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
        in_flight=Counter({InFlight("PENDING", "shop", ""): 1}),
        remember={"p": Remembered(4000, "PENDING", "shop", "", settled=False)},
        progress=Progress(
            frontier_ms=90_000,
            unread=SpanSet([(1000, 2000)]),
            open=SpanSet([(3000, 4000)]),
            last_success_s=60.0,
        ),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A feed's ledger in use, with something in it."""
    store = Store.open(f"sqlite:///{path}")
    ledger = Ledger(store, "main", "instagram")
    ledger.commit(changes())
    yield ledger
    store.close()


def run(path: Path, *words: str, style: str = "text") -> int:
    return state(f"sqlite:///{path}", words, style)


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
        "  unread       1 s in 1, from 1970-01-01 00:00:01Z to 1970-01-01 00:00:02Z",
        "  open         1 s in 1, from 1970-01-01 00:00:03Z to 1970-01-01 00:00:04Z",
        "  read up to   1970-01-01 00:00:01Z",
        "  frontier     1970-01-01 00:01:30Z",
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
        "in_flight": {"PENDING": 1}, "oldest_in_flight_ms": 4000, "lost_s": {"expired": "1.5"}, "frontier_ms": 90000,
        "read_up_to_ms": 1000, "unread": [[1000, 2000]], "open": [[3000, 4000]], "last_success_s": 60.0,
    }  # fmt: skip


def test_a_state_nobody_has_open_is_shown_without_leaving_a_file_beside_it(
    ledger: Ledger, path: Path
) -> None:
    ledger.store.close()
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
            f"UPDATE counter SET value = 5 WHERE family = '{SENT}'",
            "entity 'shop', application '': 5 sent are not 2 settled + 1 unresolved + 1 in flight",
        ),
        ("DELETE FROM message", "4 sent are not 2 settled + 1 unresolved + 0 in flight"),
        (f"UPDATE counter SET labels = '[\"x\"]' WHERE family = '{SENT}'", 'has labels ["x"]'),
        (f"UPDATE counter SET labels = '[1, 2]' WHERE family = '{SENT}'", "has labels [1, 2]"),
        (f"UPDATE counter SET labels = 'x' WHERE family = '{SENT}'", "has labels x"),
        (f"UPDATE counter SET value = -1 WHERE family = '{SENT}'", "is -1, which is no total"),
        (f"UPDATE counter SET value = 'NaN' WHERE family = '{SENT}'", "is NaN, which is no total"),
        (f"UPDATE counter SET value = '1.5' WHERE family = '{SENT}'", "is 1.5, which is no total"),
        (f"UPDATE counter SET family = 'other' WHERE family = '{SENT}'", "counter other has labels"),
        ("UPDATE histogram SET counts = '[1]'", "is damaged"),
        ("UPDATE histogram SET sum_s = 'x'", "is damaged"),
        ("UPDATE histogram SET labels = '[]'", "histogram infobip_delivery_duration_seconds has labels []"),
        ("UPDATE feed SET progress = '{'", "the progress can't be read"),
        (
            """UPDATE feed SET progress = '{"frontier_ms": 9, "unread": [[4, 5], [1, 2]]}'""",
            "unread spans are empty, out of order or overlap",
        ),
        (
            """UPDATE feed SET progress = '{"frontier_ms": 9, "open": [[1, 5], [4, 6]]}'""",
            "open spans are empty, out of order or overlap",
        ),
        (
            """UPDATE feed SET progress = '{"frontier_ms": 9, "open": [[5, 5]]}'""",
            "open spans are empty, out of order or overlap",
        ),
        (
            """UPDATE feed SET progress = '{"frontier_ms": 9, "unread": [[1, 10]]}'""",
            "unread spans reach beyond the frontier",
        ),
        (
            """UPDATE feed SET progress = '{"frontier_ms": 9, "unread": [[1, 5]], "open": [[4, 9]]}'""",
            "unread and open spans overlap",
        ),
        ("UPDATE volume SET feed_id = 7", "volume: a row of no feed"),
    ],
)
def test_what_does_not_fit_together_is_told_in_a_line(
    ledger: Ledger, path: Path, capsys: pytest.CaptureFixture[str], statement: str, told: str
) -> None:
    connection = ledger.store.connection
    connection.execute("INSERT INTO volume VALUES (?, 1, 1)", (ledger.feed_id,))
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
    ledger.store.close()
    content = bytearray(path.read_bytes())
    content[2 * 4096 : 4 * 4096] = os.urandom(2 * 4096)
    path.write_bytes(content)
    assert run(path, "check") == 1
    assert "FAIL  " in capsys.readouterr().out


def test_a_backup_is_whole_and_never_written_over(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    assert run(path, "backup", str(target)) == 0
    assert inspect.held(target).feeds == inspect.held(path).feeds
    assert inspect.findings(target) == []
    assert target.stat().st_mode & 0o077 == 0
    with pytest.raises(LedgerError, match="name a file that is not there yet"):
        run(path, "backup", str(target))


def test_a_backup_that_fails_leaves_nothing(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"no database at all\n" * 1000)
    with pytest.raises(LedgerError, match="not a ledger"):
        run(path, "backup", str(tmp_path / "backup.db"))
    assert not (tmp_path / "backup.db").exists()


@pytest.mark.parametrize("words", [(), ("check",)])
@pytest.mark.parametrize(
    ("version", "told"), [(2, "written by a newer exporter"), (0, "run brings it up to date")]
)
def test_a_state_of_another_schema_is_told(
    ledger: Ledger, path: Path, words: tuple[str, ...], version: int, told: str
) -> None:
    ledger.store.connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(LedgerError, match=told):
        run(path, *words)


def test_a_state_that_is_not_there_is_told_and_not_made(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no such file"):
        run(path)
    assert not path.exists()


@pytest.mark.parametrize("words", [("chek",), ("backup",), ("backup", "a", "b"), ("check", "x")])
def test_other_words_are_told(path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="must be state"):
        run(path, *words)
