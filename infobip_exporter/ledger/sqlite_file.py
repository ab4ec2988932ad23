"""The SQLite file of a store: opening it, keeping other processes out, and noticing when it was taken away."""

import fcntl
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import structlog

from infobip_exporter.errors import LedgerError

BUSY_TIMEOUT_S = 5.0

_log = structlog.get_logger()


class OwnFile:
    """A SQLite file that belongs to this process from `open` to `close`.

    A lock beside it keeps other exporters out, and a mark in it shows whether one came in all the same. A file that is
    removed while in use is written anew from the open one; one that was replaced is left to the user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_file = _take_lock(path)
        self._mark = secrets.randbits(31)
        self._inodes: dict[Path, int] = {}
        try:
            self.connection = connect(path)
        except BaseException:
            self._lock_file.close()
            raise

    def mark(self, cursor: sqlite3.Cursor) -> None:
        """Put this process's mark into the file, in the transaction of `cursor`."""
        cursor.execute(f"PRAGMA application_id = {self._mark}")

    def watch(self) -> None:
        """Remember which files they are, once the tables are there."""
        beside = self.path.with_name(self.path.name + "-wal")
        self._inodes = {each: each.stat().st_ino for each in (self.path, beside)}

    def check_mark(self, cursor: sqlite3.Cursor) -> None:
        """Raises LedgerError if another exporter has written: what this process holds in memory is not its state."""
        if cursor.execute("PRAGMA application_id").fetchone()[0] != self._mark:
            raise LedgerError(
                f"state {self.path}: another exporter has written to it: restart to continue from what it holds now"
            )

    def keep_in_place(self) -> None:
        """Write the file and its lock anew if they were removed. Raises LedgerError if others have taken their place."""
        if not self._inodes:
            return
        self._keep_lock()
        missing = False
        for path, inode in self._inodes.items():
            try:
                if path.stat().st_ino != inode:
                    raise LedgerError(
                        f"state {self.path}: {path.name} was replaced while in use: put the old file back, or restart to"
                        " continue from the new one"
                    )
            except OSError:
                missing = True
        if missing:
            self._write_anew()

    def close(self) -> None:
        self.connection.close()
        self._lock_file.close()

    def _keep_lock(self) -> None:
        """A lock whose file was removed keeps nobody out: take it again."""
        try:
            if os.path.samestat(os.fstat(self._lock_file.fileno()), _lock_path(self.path).stat()):
                return
        except OSError:
            pass  # it is gone
        lock_file = _take_lock(self.path)
        self._lock_file.close()
        self._lock_file = lock_file

    def _write_anew(self) -> None:
        path = self.path
        saved = path.with_name(path.name + ".saved")
        try:
            saved.unlink(missing_ok=True)
            create_private(saved)
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
                f"state {path}: was removed while in use and can't be written again: {error.strerror}"
            ) from error
        self.connection.close()
        self.connection = connect(path)
        self.connection.execute("SELECT 1 FROM feed").fetchone()  # creates the write-ahead log
        self.watch()
        _log.warning("state file was removed while in use, written again with all counts", state=str(path))


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings that durability rests on."""
    create_private(path)
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


def create_private(path: Path) -> None:
    """Create the file, if it is not there, for nobody but this user; what SQLite puts beside it gets the same mode."""
    with suppress(OSError):  # SQLite tells what is wrong
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def explain(error: sqlite3.Error) -> str:
    """What went wrong and what to do, from SQLite's own name for it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    for start, advice in _ADVICE.items():
        if name.startswith(start):
            return f"{error}: {advice}"
    return f"{error} ({name})" if name else str(error)


_MAKE_ROOM = "make room on the disk; a running exporter resumes by itself, a stopped one must be started"
_ADVICE = {
    "SQLITE_CANTOPEN": "check that the directory exists and that this user may write there",
    "SQLITE_READONLY": "give this user write access to the file, to -wal and -shm beside it, and to its directory",
    "SQLITE_FULL": _MAKE_ROOM,
    "SQLITE_IOERR_SHMSIZE": _MAKE_ROOM,  # what SQLite begins with needs room, too
    "SQLITE_IOERR": "the exporter retries and resumes by itself",
    "SQLITE_NOTADB": "the file is not a ledger: name another one in state.url, or restore a backup",
    "SQLITE_CORRUPT": "the file is damaged: run state check; stop the exporter, then restore a backup or move the file"
    " away to begin anew",
    "SQLITE_BUSY": "another program holds the file: stop it",
    "SQLITE_PERM": "give this user access to the file",
}


def refuse_if_in_use(path: Path) -> None:
    """Raises LedgerError where an exporter has the file open."""
    _take_lock(path).close()


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _take_lock(path: Path) -> IO[str]:
    """Keep other exporters out for as long as the returned file is open; a killed one leaves nothing behind."""
    lock_path = _lock_path(path)
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock_file = os.fdopen(descriptor, "r+")
    except OSError as error:  # also for a named pipe
        raise LedgerError(
            f"state {path}: can't write {lock_path}: {error.strerror or error}: check that the directory exists and that"
            " this user may write there"
        ) from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = lock_file.read().strip() or "an unknown process"
        lock_file.close()
        raise LedgerError(
            f"state {path}: in use by {holder}: stop that exporter first, or name another"
            " state.url; several replicas need PostgreSQL"
        ) from error
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}".encode())  # unbuffered
    except OSError:
        pass  # a full disk: the lock holds all the same, only the name is missing
    return lock_file
