"""The SQLite file that holds the ledgers of all feeds: opening it, keeping others out, and its transactions."""

import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import structlog

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.schema import MIGRATIONS

PREFIX = "sqlite:///"
BUSY_TIMEOUT_S = 5.0

_log = structlog.get_logger()


class Store:
    """One connection for all feeds, used by one thread at a time.

    Every commit reaches the disk before it counts as done (WAL, synchronous=FULL): what a scrape has shown can't be
    taken back by a power cut either. Raises LedgerError, with the path and what to do, when SQLite can't go on.
    """

    def __init__(self, connection: sqlite3.Connection, where: str, lock_file: IO[str] | None = None) -> None:
        self.connection = connection
        self.where = where
        self._lock_file = lock_file
        self._lock = threading.RLock()
        self._files: dict[Path, int] = {}
        """The inodes of the file and its log, as they were opened; empty where there is no file to watch."""
        self._mark: int | None = None
        """Stands in the file while this process has it; None where there is no file to share."""

    @classmethod
    def open(cls, url: str) -> "Store":
        """Open or create the file of `url` (`sqlite:///relative`, `sqlite:////absolute`) and bring it up to date."""
        path = Path(url.removeprefix(PREFIX))
        lock_file = _take_lock(path)
        try:
            store = cls(connect(path), str(path), lock_file)
            store._mark = secrets.randbits(31)
        except BaseException:
            lock_file.close()
            raise
        try:
            store.migrate()
            store._watch(path)
        except BaseException:
            store.close()
            raise
        return store

    def migrate(self) -> None:
        """Bring the tables up to date, and put this process's mark into the file. A newer file is left as it is."""
        with self._exclusive() as cursor:
            version = int(cursor.execute("PRAGMA user_version").fetchone()[0])
            if version > len(MIGRATIONS):
                raise LedgerError(
                    f"state {self.where}: written by a newer exporter (schema {version}, this one knows"
                    f" {len(MIGRATIONS)}): use that version again, or another state.url"
                )
            if self._mark is not None:
                cursor.execute(f"PRAGMA application_id = {self._mark}")
            if version == len(MIGRATIONS):
                return
            for script in MIGRATIONS[version:]:
                for statement in _statements(script):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """All or nothing. The commit is on the disk when the block has been left without an error.

        Raises LedgerError where the file is not this process's alone any more.
        """
        with self._exclusive() as cursor:
            if self._mark is not None:
                self._alone(cursor, self._mark)
            yield cursor

    @contextmanager
    def _exclusive(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._told():
            self._roll_back()  # in case the end of the last one failed as well
            self._stay_in_place()
            cursor = self.connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._told():
            yield self.connection.cursor()

    def close(self) -> None:
        """Wait for the transaction at hand, then close and let others in."""
        with self._lock:
            self.connection.close()
            if self._lock_file is not None:
                self._lock_file.close()

    def _watch(self, path: Path) -> None:
        self._files = {each: each.stat().st_ino for each in (path, path.with_name(path.name + "-wal"))}

    def _alone(self, cursor: sqlite3.Cursor, mark: int) -> None:
        """Raises LedgerError if another exporter has had the file: what is in memory here is not its state any more."""
        if cursor.execute("PRAGMA application_id").fetchone()[0] != mark:
            raise LedgerError(
                f"state {self.where}: another exporter has written into it while in use: restart to count on from what"
                " it holds now"
            )

    def _stay_in_place(self) -> None:
        """What is written into a removed file is gone when the process ends: write it anew from the open one.

        Raises LedgerError where another file has taken its place: that one is somebody's decision.
        """
        if self._files:
            self._keep_lock(next(iter(self._files)))
        missing = False
        for path, inode in self._files.items():
            try:
                if path.stat().st_ino != inode:
                    raise LedgerError(
                        f"state {self.where}: another file has taken the place of {path.name} while in use: put the"
                        " old one back, or restart to count on from the new one"
                    )
            except OSError:
                missing = True
        if missing:
            self._write_anew(next(iter(self._files)))

    def _keep_lock(self, path: Path) -> None:
        """A lock whose file was removed keeps nobody out: take it anew. LedgerError where another was quicker."""
        if self._lock_file is None or _is_at(self._lock_file, _lock_path(path)):
            return
        lock_file = _take_lock(path)
        self._lock_file.close()
        self._lock_file = lock_file

    def _write_anew(self, path: Path) -> None:
        saved = path.with_name(path.name + ".saved")
        try:
            saved.unlink(missing_ok=True)
            with closing(sqlite3.connect(saved)) as copy:
                copy.execute("PRAGMA synchronous = FULL")
                self.connection.backup(copy)
            for beside in ("-wal", "-shm"):
                path.with_name(path.name + beside).unlink(missing_ok=True)
            saved.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            raise LedgerError(
                f"state {path}: was removed while in use and can't be written anew: {error.strerror}"
            ) from error
        self.connection.close()
        self.connection = connect(path)
        self.connection.execute("SELECT 1 FROM feed").fetchone()  # begins the log
        self._watch(path)
        _log.warning("the state was removed while in use, written anew with all its counts", state=self.where)

    def _roll_back(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself; the error that led here is the one to tell

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"state {self.where}: {explain(error)}") from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings that durability rests on."""
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise LedgerError(f"state {path}: {explain(error)}") from error
    return connection


def explain(error: sqlite3.Error) -> str:
    """What went wrong and what to do, from SQLite's own name for it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    for start, advice in _ADVICE.items():
        if name.startswith(start):
            return f"{error}: {advice}"
    return f"{error} ({name})" if name else str(error)


_MAKE_ROOM = (
    "make room on the disk; a running exporter goes on by itself then, one that has ended must be started"
)
_ADVICE = {
    "SQLITE_CANTOPEN": "check that the directory exists and that this user may write there",
    "SQLITE_READONLY": "give this user write access to the file, to -wal and -shm beside it, and to its directory",
    "SQLITE_FULL": _MAKE_ROOM,
    "SQLITE_IOERR_SHMSIZE": _MAKE_ROOM,  # what SQLite begins with needs room, too
    "SQLITE_IOERR": "the disk did not do what it was asked; a running exporter goes on by itself once it does",
    "SQLITE_NOTADB": "the file is not a ledger: name another one in state.url, or put a backup in its place",
    "SQLITE_CORRUPT": "the file is damaged: state check says where; end the exporter, then put a backup in its place, or"
    " move it away and begin anew",
    "SQLITE_BUSY": "another program holds the file: end it",
    "SQLITE_PERM": "give this user access to the file",
}


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _take_lock(path: Path) -> IO[str]:
    """Keep other exporters out for as long as the returned file is open; a killed one leaves nothing behind."""
    lock_path = _lock_path(path)
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LedgerError(
            f"state {path}: can't write {lock_path}: {error.strerror}: check that the directory exists and that"
            " this user may write there"
        ) from error
    lock_file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = lock_file.read().strip() or "an unknown process"
        lock_file.close()
        raise LedgerError(
            f"state {path}: in use by {holder}: end that exporter first, or name another state.url"
        ) from error
    try:
        os.truncate(descriptor, 0)
        os.write(
            descriptor, f"process {os.getpid()}".encode()
        )  # unbuffered: nothing is left to write at closing
    except OSError:
        pass  # a full disk: the lock holds all the same, only the name is missing
    return lock_file


def _statements(script: str) -> Iterator[str]:
    """The single statements of a migration: executescript would commit the transaction at hand."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
