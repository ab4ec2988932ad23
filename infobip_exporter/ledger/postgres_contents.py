"""What the tables in PostgreSQL hold, read while replicas may be writing them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.postgres import read_messages, read_released, read_saved
from infobip_exporter.ledger.postgres_connections import Connections, Row
from infobip_exporter.ledger.postgres_schema import MIGRATIONS, check_version
from infobip_exporter.ledger.store import Held, Messages, Saved
from infobip_exporter.model.series import Series

_TABLES = ("feed", "series", "released", "cell", "settled", "in_flight", "settled_by_hour", "rejected")


class PostgresContents:
    """The tables as one transaction sees them."""

    schema = len(MIGRATIONS)

    def __init__(self, cursor: "psycopg.Cursor[TupleRow]", where: str) -> None:
        self.where = where
        self._cursor = cursor
        [(size,)] = self._run(
            "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(%(tables)s::text[]) AS name",
            {"tables": list(_TABLES)},
        )
        self.size_bytes: int = size

    def feeds(self) -> Iterator[tuple[str, str, Saved]]:
        for feed_id, account, channel, progress in self._run(
            "SELECT id, account, channel, progress FROM feed ORDER BY 2, 3", {}
        ):
            yield account, channel, read_saved(self._run, self.where, Held(feed_id), progress)

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
        return read_messages(self._run, held, cells)

    def released(self, held: Held) -> set[Series]:
        return read_released(self._run, held)

    def rejected(self, held: Held) -> dict[bytes, int]:
        rows = self._run(
            "SELECT fingerprint, read_ms FROM rejected WHERE feed_id = %(feed)s", {"feed": held.feed_id}
        )
        return dict(rows)

    def damages(self) -> list[str]:
        return []  # the server's matter; no row is without its feed, by its foreign keys

    def refuse_if_in_use(self) -> None:
        """Raises LedgerError where a replica is alive."""
        names = self._run("SELECT name FROM replica WHERE expires_at >= now() ORDER BY name", {})
        if names:
            who = ", ".join(name for (name,) in names)
            raise LedgerError(f"state {self.where}: in use by {who}: stop these replicas first")

    def _run(self, statement: str, parameters: Mapping[str, object]) -> list[Row]:
        return self._cursor.execute(statement, parameters).fetchall()


@contextmanager
def reading(connections: Connections) -> Iterator[PostgresContents]:
    """The tables at one moment. Raises LedgerError if they can't be read."""
    check_version(connections)
    with connections.transaction(psycopg.IsolationLevel.REPEATABLE_READ) as cursor:
        yield PostgresContents(cursor, connections.where)
