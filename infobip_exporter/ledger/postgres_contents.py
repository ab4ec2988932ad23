"""What the tables in PostgreSQL hold, read while replicas may be writing them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.postgres import PostgresTables
from infobip_exporter.ledger.postgres_connections import Connections
from infobip_exporter.ledger.postgres_schema import MIGRATIONS, check_version

_TABLES = ("feed", "series", "released", "cell", "settled", "in_flight", "settled_by_hour", "rejected")


class PostgresContents(PostgresTables):
    """The tables as the transaction of `cursor` sees them."""

    schema = len(MIGRATIONS)

    def __init__(self, cursor: "psycopg.Cursor[TupleRow]", where: str) -> None:
        super().__init__(where, lambda statement, values=None: cursor.execute(statement, values).fetchall())
        [(size,)] = self._run(
            "SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(%(tables)s::text[]) AS name",
            {"tables": list(_TABLES)},
        )
        self.size_bytes: int = size

    def damages(self) -> list[str]:
        return []  # the server's matter; no row is without its feed, by its foreign keys

    def refuse_if_in_use(self) -> None:
        """Raises LedgerError where a replica is alive."""
        names = self.select("SELECT name FROM replica WHERE expires_at >= now() ORDER BY name")
        if names:
            who = ", ".join(name for (name,) in names)
            raise LedgerError(f"state {self.where}: in use by {who}: stop these replicas first")


@contextmanager
def reading(connections: Connections) -> Iterator[PostgresContents]:
    """The tables at one moment. Raises LedgerError if they can't be read."""
    check_version(connections)
    with connections.transaction(psycopg.IsolationLevel.REPEATABLE_READ) as cursor:
        yield PostgresContents(cursor, connections.where)
