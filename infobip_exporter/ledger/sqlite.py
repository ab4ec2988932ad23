"""The store in an SQLite file, for one process."""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.encoding import labels_text, plain_value, signed
from infobip_exporter.ledger.schema import TABLES, VERSION
from infobip_exporter.ledger.sqlite_file import OwnFile, explain
from infobip_exporter.ledger.store import Held, Messages, Saved, Writes
from infobip_exporter.ledger.tables import Row, Tables
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Series

_CELL_COLUMNS = len(Cell._fields)
_MOST_PARAMETERS = 900
"""SQLite takes 999 in a statement, older ones too."""

_log = structlog.get_logger()


class SqliteStore(Tables):
    """One connection for all feeds, used by one thread at a time.

    Every commit reaches the disk before it returns (WAL, synchronous=FULL): what a scrape has shown can't be taken back
    by a power cut. `file` is None for a database in memory.
    """

    def __init__(self, connection: sqlite3.Connection, where: str, file: OwnFile | None = None) -> None:
        self.where = where
        self._connection = connection
        self._file = file
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> "SqliteStore":
        """Open or create the file at `path`. Raises LedgerError."""
        path = path.absolute()
        file = OwnFile(path)
        store = cls(file.connection, str(path), file)
        try:
            store.create_tables()
            file.watch()
        except BaseException:
            store.close()
            raise
        return store

    def create_tables(self) -> None:
        """Create what is missing. Raises LedgerError for a file with other tables; that one is left as it is."""
        with self._exclusive() as cursor:
            is_empty = cursor.execute("SELECT 1 FROM sqlite_master").fetchone() is None
            if not is_empty:
                check_schema(cursor, self.where)
            if self._file:
                self._file.mark(cursor)
            if is_empty:
                for statement in TABLES:
                    cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version = {VERSION}")
        if is_empty and self._file:
            _log.warning("new ledger, counting begins at 0", state=self.where)

    def load(self, account: str, channel: str) -> Saved:
        with self._transaction() as cursor:
            found = cursor.execute(
                "SELECT id, progress FROM feed WHERE account = ? AND channel = ?", (account, channel)
            ).fetchone()
            if found is None:
                cursor.execute(
                    "INSERT INTO feed (account, channel, progress) VALUES (?, ?, ?)", (account, channel, b"")
                )
                return Saved(Held(int(cursor.lastrowid or 0)))
            feed_id, progress = found
            return self.saved(Held(feed_id), progress)

    def commit(self, held: Held, writes: Writes) -> None:
        feed_id = held.feed_id
        with self._transaction() as cursor:

            def run(statement: str, rows: Sequence[tuple[object, ...]]) -> None:
                if rows:
                    cursor.executemany(statement, rows)

            run(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)",
                [
                    (feed_id, each.family, labels_text(each), plain_value(value))
                    for each, value in writes.series.items()
                ],
            )
            gone = [(feed_id, since_ms) for since_ms in writes.gone]
            for table in ("cell", "settled", "in_flight"):
                run(f"DELETE FROM {table} WHERE feed_id = ? AND since_ms = ?", gone)
            run(
                f"INSERT OR REPLACE INTO cell VALUES (?{', ?' * _CELL_COLUMNS})",
                [(feed_id, *cell[:-2], signed(cell.ids), signed(cell.outcomes)) for cell in writes.cells],
            )
            for table, messages in (("settled", writes.settled), ("in_flight", writes.in_flight_messages)):
                run(
                    f"DELETE FROM {table} WHERE feed_id = ? AND since_ms = ?",
                    [(feed_id, since_ms) for since_ms, data in messages.items() if not data],
                )
                run(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",
                    [(feed_id, since_ms, data) for since_ms, data in messages.items() if data],
                )
            run(
                "INSERT OR REPLACE INTO settled_by_hour VALUES (?, ?, ?, ?)",
                [(feed_id, *key, messages) for key, messages in writes.settled_by_hour.items()],
            )
            run(
                "INSERT OR IGNORE INTO rejected VALUES (?, ?, ?)",
                [(feed_id, fingerprint, read_ms) for fingerprint, read_ms in writes.rejected.items()],
            )
            if writes.progress is not None:
                cursor.execute("UPDATE feed SET progress = ? WHERE id = ?", (writes.progress, feed_id))
            if writes.prune_before_ms is not None:
                hour = writes.prune_before_ms // 3_600_000
                cursor.execute("DELETE FROM settled_by_hour WHERE feed_id = ? AND hour < ?", (feed_id, hour))
                cursor.execute(
                    "DELETE FROM rejected WHERE feed_id = ? AND read_ms < ?",
                    (feed_id, writes.prune_before_ms),
                )

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
        found = {since_ms: Messages() for since_ms in cells}
        with self._reading() as cursor:
            for first in range(0, len(cells), _MOST_PARAMETERS):
                some = cells[first : first + _MOST_PARAMETERS]
                marks = ", ".join("?" * len(some))
                for table in Messages._fields:
                    rows = cursor.execute(
                        f"SELECT since_ms, messages FROM {table} WHERE feed_id = ? AND since_ms IN ({marks})",
                        (held.feed_id, *some),
                    )
                    for since_ms, data in rows:
                        found[since_ms] = found[since_ms]._replace(**{table: data})
        return found

    def known_rejected(self, held: Held, fingerprints: Iterable[bytes]) -> set[bytes]:
        with self._reading() as cursor:
            return {
                fingerprint
                for fingerprint in fingerprints
                if cursor.execute(
                    "SELECT 1 FROM rejected WHERE feed_id = ? AND fingerprint = ?",
                    (held.feed_id, fingerprint),
                ).fetchone()
            }

    def select(self, statement: str) -> list[Row]:
        with self._reading() as cursor:
            return cursor.execute(statement).fetchall()

    def save_released(self, held: Held, series: Collection[Series]) -> None:
        with self._transaction() as cursor:
            cursor.executemany(
                "INSERT OR IGNORE INTO released VALUES (?, ?, ?)",
                [(held.feed_id, each.family, labels_text(each)) for each in series],
            )

    def may_act(self) -> bool:
        return True

    def close(self) -> None:
        """Wait for the transaction at hand, then close and let others in."""
        with self._lock:
            if self._file:
                self._file.close()
            else:
                self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """All or nothing; on the disk when the block has been left without an error."""
        with self._exclusive() as cursor:
            if self._file:
                self._file.check_mark(cursor)
            yield cursor

    @contextmanager
    def _exclusive(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._explained():
            self._roll_back()  # in case the end of the last one failed as well
            if self._file:
                self._file.keep_in_place()
                self._connection = self._file.connection
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._explained():
            yield self._connection.cursor()

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself; the error that led here is the one to report

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"state {self.where}: {explain(error)}") from error


def check_schema(cursor: sqlite3.Cursor, where: str) -> int:
    """The version of a file's tables. Raises LedgerError, with what to do, unless it is this program's."""
    version = int(cursor.execute("PRAGMA user_version").fetchone()[0])
    newest = "SELECT 1 FROM pragma_table_info('cell') WHERE name = 'uncounted'"
    if version == VERSION and cursor.execute(newest).fetchone() is not None:
        return version
    if version > VERSION:
        raise LedgerError(
            f"state {where}: written by a newer exporter (schema {version}, this one knows {VERSION}): use that version,"
            " or another state.url"
        )
    raise LedgerError(
        f"state {where}: written by a version before the first release, or by another program: name another state.url,"
        " or move the file away, and set poll.lookback to 48h to count again what the log still holds"
    )
