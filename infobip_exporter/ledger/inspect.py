"""What a state file holds, read while an exporter may be writing it, and whether it is sound. Nothing is changed."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import msgspec

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger import progress as progress_
from infobip_exporter.ledger.schema import MIGRATIONS
from infobip_exporter.ledger.store import BUSY_TIMEOUT_S, explain
from infobip_exporter.metrics import catalog

MOST_FINDINGS = 20
"""Of SQLite's own: a file that is damaged has thousands."""

_MESSAGES = {catalog.SENT.name, catalog.MESSAGES.name, catalog.UNRESOLVED.name}
_FAMILIES = {family.name: family for family in catalog.FAMILIES}


class FeedHeld(msgspec.Struct, frozen=True, kw_only=True):
    """What the state holds of a feed. Moments are milliseconds since the epoch, spans `[since, until]` pairs of them."""

    account: str
    channel: str
    sent: int
    settled: dict[str, int]
    unresolved: dict[str, int]
    in_flight: dict[str, int]
    oldest_in_flight_ms: int | None
    lost_s: dict[str, Decimal]
    frontier_ms: int | None
    read_up_to_ms: int | None
    unread: list[list[int]]
    open: list[list[int]]
    last_success_s: float | None


class StateHeld(msgspec.Struct, frozen=True, kw_only=True):
    """What a state file holds. `size_bytes` is with SQLite's log beside it."""

    path: str
    schema: int
    size_bytes: int
    feeds: list[FeedHeld]


def held(path: Path) -> StateHeld:
    """What the file at `path` holds at this moment. Raises LedgerError if it can't be read."""
    with _reading(path) as connection:
        schema = _schema(connection, path)
        feeds = connection.execute("SELECT id, account, channel, progress FROM feed ORDER BY 2, 3").fetchall()
        try:
            found = [_feed(connection, *feed) for feed in feeds]
        except ValueError as error:
            raise LedgerError(
                f"state {path}: holds a value that no exporter wrote ({error}): ask state check"
            ) from error
        log = path.with_name(path.name + "-wal")
        size = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        return StateHeld(path=str(path), schema=schema, size_bytes=size, feeds=found)


def findings(path: Path) -> list[str]:
    """A line for each thing that is wrong with the file at `path`. Raises LedgerError if it can't be read at all."""
    with _reading(path) as connection:
        try:
            _schema(connection, path)
            return list(_found_in(connection))
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                return [explain(error)]
            raise


def back_up(path: Path, target: Path) -> None:
    """Write a whole and consistent copy of the file at `path` to `target`, which must not be there yet.

    Raises LedgerError if either can't be done; no half a copy is left.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise LedgerError(f"backup {target}: {error.strerror}: name a file that is not there yet") from error
    try:
        with _reading(path) as connection:
            _schema(connection, path)
            with closing(sqlite3.connect(target)) as copy:
                connection.backup(copy)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can't write, at one moment of the file."""
    # Without a log nobody has the file open: read as it is, no log is begun beside it.
    way = "mode=ro" if path.with_name(path.name + "-wal").exists() else "mode=ro&immutable=1"
    try:
        if not path.exists():
            raise LedgerError(f"state {path}: there is no such file: nothing has been counted there yet")
        address = f"file:{quote(str(path))}?{way}"
        with closing(
            sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection:
            if "immutable" not in way:
                connection.execute("BEGIN")
            yield connection
    except (sqlite3.Error, OSError) as error:
        words = explain(error) if isinstance(error, sqlite3.Error) else error.strerror
        raise LedgerError(f"state {path}: {words}") from error


def _schema(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"state {path}: written by a newer exporter (schema {version}, this one knows {len(MIGRATIONS)}):"
            " use that version"
        )
    if version < len(MIGRATIONS):
        raise LedgerError(
            f"state {path}: of an older schema ({version}, this exporter's is {len(MIGRATIONS)}): run brings it up to"
            " date"
        )
    return version


def _feed(
    connection: sqlite3.Connection, feed_id: int, account: str, channel: str, progress: bytes
) -> FeedHeld:
    totals: dict[str, Counter[str]] = {
        name: Counter() for name in (catalog.MESSAGES.name, catalog.UNRESOLVED.name)
    }
    sent = 0
    lost_s: dict[str, Decimal] = {}
    for family, labels, value in _counters(connection, feed_id):
        if family == catalog.SENT.name:
            sent += int(value)
        elif family in totals:
            totals[family][json.loads(labels)[0]] += int(value)
        elif family == catalog.LOST.name:
            lost_s[json.loads(labels)[0]] = Decimal(value)
    in_flight = connection.execute(
        "SELECT general_status, count(*) FROM message WHERE feed_id = ? AND settled = 0 GROUP BY 1",
        (feed_id,),
    ).fetchall()
    [oldest_ms] = connection.execute(
        "SELECT min(sent_ms) FROM message WHERE feed_id = ? AND settled = 0", (feed_id,)
    ).fetchone()
    come = progress_.decode(progress)
    return FeedHeld(
        account=account,
        channel=channel,
        sent=sent,
        settled=dict(totals[catalog.MESSAGES.name]),
        unresolved=dict(totals[catalog.UNRESOLVED.name]),
        in_flight=dict(in_flight),
        oldest_in_flight_ms=oldest_ms,
        lost_s=lost_s,
        frontier_ms=come.frontier_ms,
        read_up_to_ms=come.read_up_to_ms,
        unread=[list(span) for span in come.unread],
        open=[list(span) for span in come.open],
        last_success_s=come.last_success_s,
    )


def _counters(connection: sqlite3.Connection, feed_id: int) -> list[tuple[str, str, int | str]]:
    return connection.execute(
        "SELECT family, labels, value FROM counter WHERE feed_id = ? ORDER BY 1, 2", (feed_id,)
    ).fetchall()


# What can be wrong


def _found_in(connection: sqlite3.Connection) -> Iterator[str]:
    damages = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST_FINDINGS})")]
    if damages != ["ok"]:
        yield from damages
        return  # what stands in damaged pages says nothing more
    for table, *_ in connection.execute("PRAGMA foreign_key_check"):
        yield f"{table}: a row of no feed"
    feeds = connection.execute("SELECT id, account, channel, progress FROM feed ORDER BY 2, 3").fetchall()
    for feed_id, account, channel, progress in feeds:
        wrong = [*_wrong_spans(progress), *_wrong_series(connection, feed_id)]
        # Values that can't be read can't be added up either.
        for line in wrong or _unconserved(connection, feed_id):
            yield f"{account}/{channel}: {line}"


def _wrong_spans(progress: bytes) -> Iterator[str]:
    """Spans are sorted, do not touch each other, and lie below the frontier; nothing is unread and read at once."""
    try:
        progress_.decode(progress)
        raw = msgspec.json.decode(progress)
    except (ValueError, TypeError):
        yield "the progress can't be read"
        return
    frontier_ms = raw.get("frontier_ms")
    for name in ("unread", "open"):
        spans = raw.get(name, [])
        if any(since >= until for since, until in spans) or any(
            later[0] <= earlier[1] for earlier, later in pairwise(spans)
        ):
            yield f"{name} spans are empty, out of order or overlap"
        elif spans and (frontier_ms is None or spans[-1][1] > frontier_ms):
            yield f"{name} spans reach beyond the frontier"
    come = progress_.decode(progress)
    if come.unread.without(come.open) != come.unread:
        yield "unread and open spans overlap"


def _wrong_series(connection: sqlite3.Connection, feed_id: int) -> Iterator[str]:
    """Labels are those of the catalogue; a value is a number that has not fallen below zero."""
    for family, labels, value in _counters(connection, feed_id):
        if not _labels_fit(family, labels):
            yield f"counter {family} has labels {labels}, which it can't have"
        elif not _is_total(value) or (family in _MESSAGES and not isinstance(value, int)):
            yield f"counter {family} {labels} is {value}, which is no total"
    for family, labels, counts, sum_s in connection.execute(
        "SELECT family, labels, counts, sum_s FROM histogram WHERE feed_id = ? ORDER BY 1, 2", (feed_id,)
    ):
        if not _labels_fit(family, labels):
            yield f"histogram {family} has labels {labels}, which it can't have"
        elif not _are_buckets(family, counts) or not _is_total(sum_s):
            yield f"histogram {family} {labels} is damaged"


def _labels_fit(family: str, labels: str) -> bool:
    known = _FAMILIES.get(family)
    try:
        values = json.loads(labels)
    except ValueError:
        return False
    return (
        known is not None
        and isinstance(values, list)
        and len(values) == len(known.labels)
        and all(isinstance(value, str) for value in values)
    )


def _is_total(value: object) -> bool:
    try:
        return isinstance(value, int | str) and Decimal(value) >= 0
    except InvalidOperation:
        return False


def _are_buckets(family: str, counts: str) -> bool:
    try:
        values = json.loads(counts)
    except ValueError:
        return False
    return (
        isinstance(values, list)
        and len(values) == len(_FAMILIES[family].buckets) + 1
        and all(isinstance(value, int) and value >= 0 for value in values)
    )


def _unconserved(connection: sqlite3.Connection, feed_id: int) -> Iterator[str]:
    """For each entity and application: sent = settled + unresolved + in flight."""
    parts = {name: Counter[tuple[str, str]]() for name in ("sent", "settled", "unresolved", "in flight")}
    columns = {
        catalog.SENT.name: "sent",
        catalog.MESSAGES.name: "settled",
        catalog.UNRESOLVED.name: "unresolved",
    }
    for family, labels, value in _counters(connection, feed_id):
        if family in columns:
            entity, application = json.loads(labels)[-2:]
            parts[columns[family]][entity, application] += int(value)
    for entity, application, messages in connection.execute(
        "SELECT entity_id, application_id, count(*) FROM message WHERE feed_id = ? AND settled = 0 GROUP BY 1, 2",
        (feed_id,),
    ):
        parts["in flight"][entity, application] += messages
    for place in sorted(set().union(*parts.values())):
        sent, *others = (part[place] for part in parts.values())
        if sent != sum(others):
            told = " + ".join(f"{n} {name}" for n, name in zip(others, list(parts)[1:], strict=True))
            yield f"entity {place[0]!r}, application {place[1]!r}: {sent} sent are not {told}"
