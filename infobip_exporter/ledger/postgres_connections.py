"""Connections to PostgreSQL: opened when needed, kept for the next use, given up after a time limit.

Everything is one statement or one transaction. Nothing rests on a session (no settings, prepared statements, temporary
tables, LISTEN or advisory locks), so that PgBouncer may pool transactions.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.errors import _WaitTimeout  # the documented way to tell a time limit from others does not exist
from psycopg.rows import TupleRow

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.postgres_errors import explained
from infobip_exporter.model.secret import Secret

CONNECT_WITHIN_S = 5
ANSWER_WITHIN_S = 30.0
"""After this a connection is given up: the server may have vanished without a word."""

T = TypeVar("T")
Row = tuple[Any, ...]


class Connections:
    """The connections of one process to the database of `url`, which holds no password. Any thread may use them."""

    def __init__(self, url: str, password: Secret | None = None, password_file: Path | None = None) -> None:
        self.where = url
        self._password = password
        self._password_file = password_file
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(
        self,
        statement: str,
        parameters: Mapping[str, object] | None = None,
        *,
        within_s: float = ANSWER_WITHIN_S,
    ) -> list[Row]:
        """The rows of one statement, which is a transaction of its own. Raises LedgerError.

        It may run twice: a connection that has been idle may be dead, and then nobody can say whether the statement got
        through. Every statement is written so that this does no harm.
        """
        try:
            return self._run(statement, parameters, within_s)
        except psycopg.Error as error:
            raise explained(self.where, error) from error

    def _run(self, statement: str, parameters: Mapping[str, object] | None, within_s: float) -> list[Row]:
        connection = self._take()
        if connection is not None:
            try:
                return self._run_on(connection, statement, parameters, within_s)
            except psycopg.OperationalError:
                if not connection.closed:
                    raise
                self._close_idle()  # what ended this one has ended those before it, too
        return self._run_on(self._open(), statement, parameters, within_s)

    def _run_on(
        self,
        connection: "_Connection",
        statement: str,
        parameters: Mapping[str, object] | None,
        within_s: float,
    ) -> list[Row]:
        connection.answer_within_s = within_s
        try:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
        finally:
            self._put_back(connection)

    @contextmanager
    def transaction(
        self, isolation: psycopg.IsolationLevel | None = None
    ) -> Iterator["psycopg.Cursor[TupleRow]"]:
        """Several statements, all or nothing. Raises LedgerError."""
        try:
            connection = self._open()
            try:
                connection.isolation_level = isolation  # part of BEGIN
                with connection.transaction(), connection.cursor() as cursor:
                    yield cursor
            finally:
                connection.close()
        except psycopg.Error as error:
            raise explained(self.where, error) from error

    def close(self) -> None:
        self._closed = True
        self._close_idle()

    def _take(self) -> "_Connection | None":
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put_back(self, connection: "_Connection") -> None:
        if self._closed:
            connection.close()
        elif not connection.closed:
            with self._lock:
                self._idle.append(connection)

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()

    def _open(self) -> "_Connection":
        more: dict[str, object] = {}
        password = self._read_password()
        if password is not None:
            more["password"] = password
        return _Connection.connect(
            self.where,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_WITHIN_S,
            keepalives_idle=5,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=round(ANSWER_WITHIN_S * 1000),
            **more,  # type: ignore[arg-type]
        )

    def _read_password(self) -> str | None:
        """Read for each connection, so that a file may change."""
        if self._password_file is None:
            return self._password.reveal() if self._password else None
        try:
            return self._password_file.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerError(f"state.password_file {self._password_file}: can't be read: {error}") from error


class _Connection(psycopg.Connection[TupleRow]):
    answer_within_s = ANSWER_WITHIN_S

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        within_s = self.answer_within_s if timeout is None else timeout
        try:
            return super().wait(gen, interval, within_s)
        except _WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {within_s:g} s") from None
