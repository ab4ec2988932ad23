"""What an SQLite file holds, read while an exporter may be writing it; and a copy of the file."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.sqlite import SqliteStore, check_schema
from infobip_exporter.ledger.sqlite_file import BUSY_TIMEOUT_S, explain, refuse_if_in_use

MOST_FINDINGS = 20
"""Of SQLite's own: a file that is damaged has thousands."""


class SqliteContents(SqliteStore):
    """The file at `path`, by a connection that can't write."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, str(path))
        self.schema = check_schema(connection.cursor(), self.where)
        log = path.with_name(path.name + "-wal")
        self.size_bytes = path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def copy_to(self, target: sqlite3.Connection) -> None:
        self._connection.backup(target)

    def refuse_if_in_use(self) -> None:
        """Raises LedgerError where an exporter has the file open."""
        refuse_if_in_use(Path(self.where))

    def damages(self) -> list[str]:
        try:
            found = [row[0] for row in self._connection.execute(f"PRAGMA integrity_check({MOST_FINDINGS})")]
            if found != ["ok"]:
                return found
            rows = self._connection.execute("PRAGMA foreign_key_check")
            return [f"{table}: a row of no feed" for table, *_ in rows]
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                return [explain(error)]
            raise


@contextmanager
def reading(path: Path) -> Iterator[SqliteContents]:
    """The file's contents at one moment. Raises LedgerError if it can't be read."""
    # Without a write-ahead log nobody has the file open: read as it is, none is begun beside it.
    way = "mode=ro" if path.with_name(path.name + "-wal").exists() else "mode=ro&immutable=1"
    try:
        if not path.exists():
            raise LedgerError(f"state {path}: no such file, nothing has been counted there yet")
        address = f"file:{quote(str(path))}?{way}"
        with closing(
            sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection:
            if "immutable" not in way:
                connection.execute("BEGIN")
            yield SqliteContents(connection, path)
    except (sqlite3.Error, OSError) as error:
        words = explain(error) if isinstance(error, sqlite3.Error) else error.strerror
        raise LedgerError(f"state {path}: {words}") from error


def back_up(path: Path, target: Path) -> None:
    """Write a whole and consistent copy of the file at `path` to `target`, which must not be there yet.

    Raises LedgerError if either can't be done; no half a copy is left.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise LedgerError(f"backup {target}: {error.strerror}: name a file that is not there yet") from error
    try:
        with reading(path) as contents, closing(sqlite3.connect(target)) as copy:
            contents.copy_to(copy)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
