"""The tables of ledgers in PostgreSQL, and the migrations that lead to them."""

import psycopg
import structlog
from psycopg.rows import TupleRow

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.postgres_connections import Connections

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A process of the exporter. It lives while `expires_at` is in the future by the database's clock; whoever finds
        # it dead removes it, and from then on it owns nothing, whatever `feed.owner` says.
        """
        CREATE TABLE replica (
            id text PRIMARY KEY,
            name text NOT NULL,
            expires_at timestamptz NOT NULL
        )
        """,
        # `epoch` rises whenever a process begins to write the feed, `commits` is the number
        # of its last commit.
        # `free_since` is when the feed was last given up; `wanted_by` a replica that asks the owner for it.
        """
        CREATE TABLE feed (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            channel text NOT NULL,
            owner text,
            epoch bigint NOT NULL DEFAULT 0,
            commits bigint NOT NULL DEFAULT 0,
            wanted_by text,
            free_since timestamptz NOT NULL DEFAULT now(),
            read_up_to_ms bigint,
            progress bytea NOT NULL DEFAULT '',
            UNIQUE (account, channel)
        ) WITH (fillfactor = 50)
        """,
        "CREATE INDEX feed_free ON feed (id) WHERE owner IS NULL",
        # labels: a JSON object. value: an integer, an exact decimal, or a histogram as JSON [[counts], "sum"].
        """
        CREATE TABLE series (
            feed_id bigint NOT NULL REFERENCES feed,
            family text NOT NULL,
            labels text NOT NULL,
            value text NOT NULL,
            PRIMARY KEY (feed_id, family, labels)
        ) WITH (fillfactor = 70)
        """,
        """
        CREATE TABLE released (
            feed_id bigint NOT NULL REFERENCES feed,
            family text NOT NULL,
            labels text NOT NULL,
            PRIMARY KEY (feed_id, family, labels)
        )
        """,
        # The columns of model.cells.Cell; ids and outcomes as signed 64-bit numbers.
        """
        CREATE TABLE cell (
            feed_id bigint NOT NULL REFERENCES feed,
            since_ms bigint NOT NULL,
            until_ms bigint NOT NULL,
            messages integer NOT NULL,
            in_flight integer NOT NULL,
            oldest_in_flight_ms bigint NOT NULL,
            read_ms bigint NOT NULL,
            looked_ms bigint NOT NULL,
            reads integer NOT NULL,
            final boolean NOT NULL,
            audited boolean NOT NULL,
            auditable boolean NOT NULL,
            uncounted integer NOT NULL,
            ids bigint NOT NULL,
            outcomes bigint NOT NULL,
            PRIMARY KEY (feed_id, since_ms)
        ) WITH (fillfactor = 70)
        """,
        # What is kept of a cell's messages: counting/known.py. Hashes can't be compressed.
        """
        CREATE TABLE settled (
            feed_id bigint NOT NULL REFERENCES feed,
            since_ms bigint NOT NULL,
            messages bytea NOT NULL,
            PRIMARY KEY (feed_id, since_ms)
        )
        """,
        "ALTER TABLE settled ALTER COLUMN messages SET STORAGE EXTERNAL",
        """
        CREATE TABLE in_flight (
            feed_id bigint NOT NULL REFERENCES feed,
            since_ms bigint NOT NULL,
            messages bytea NOT NULL,
            PRIMARY KEY (feed_id, since_ms)
        )
        """,
        # general_status: a JSON string, for a name may hold what a text of PostgreSQL can't.
        """
        CREATE TABLE settled_by_hour (
            feed_id bigint NOT NULL REFERENCES feed,
            hour integer NOT NULL,
            general_status text NOT NULL,
            messages bigint NOT NULL,
            PRIMARY KEY (feed_id, hour, general_status)
        ) WITH (fillfactor = 70)
        """,
        """
        CREATE TABLE rejected (
            feed_id bigint NOT NULL REFERENCES feed,
            fingerprint bytea NOT NULL,
            read_ms bigint NOT NULL,
            PRIMARY KEY (feed_id, fingerprint)
        )
        """,
    ),
)
"""The statements of each version. Those of a version that was released never change; new ones are appended."""

_TIMES_TRIED = 3

_log = structlog.get_logger()


def migrate(connections: Connections) -> None:
    """Bring the tables to this program's version, in one transaction. Raises LedgerError.

    A migration takes every feed from its owner: replicas of the version before write nothing from then on, and can't
    join again.
    """
    for attempt in range(1, _TIMES_TRIED + 1):
        try:
            with connections.transaction() as cursor:
                before = _migrate(cursor, connections.where)
        except LedgerError as error:
            # Two replicas that begin at once may both create the first table; the loser finds it there.
            if attempt < _TIMES_TRIED and isinstance(
                error.__cause__, psycopg.errors.UniqueViolation | psycopg.errors.DuplicateTable
            ):
                continue
            raise
        break
    if before == 0:
        _log.warning("new ledger, counting begins at 0", state=connections.where)
    elif before < len(MIGRATIONS):
        _log.info("tables migrated", state=connections.where, schema=len(MIGRATIONS), before=before)


def check_version(connections: Connections) -> None:
    """Raises LedgerError unless the tables are of this program's version."""
    found = connections.run("SELECT to_regclass('ledger_version') IS NOT NULL")
    if not found[0][0]:
        raise LedgerError(f"state {connections.where}: holds no ledger yet, nothing has been counted there")
    [(version,)] = connections.run("SELECT version FROM ledger_version")
    if version != len(MIGRATIONS):
        raise LedgerError(_other_version(connections.where, version))


def _migrate(cursor: "psycopg.Cursor[TupleRow]", where: str) -> int:
    """The version before."""
    # In this order: whoever creates the tables meanwhile creates the version's before the others.
    taken = _value(
        cursor, "SELECT coalesce(to_regclass('feed'), to_regclass('series'), to_regclass('replica'))::text"
    )
    if not _value(cursor, "SELECT to_regclass('ledger_version') IS NOT NULL"):
        if taken is not None:
            raise LedgerError(
                f"state {where}: is no ledger: the table {taken} belongs to another program: name another database or"
                " schema"
            )
        cursor.execute("CREATE TABLE ledger_version (version integer NOT NULL)")
        cursor.execute("INSERT INTO ledger_version VALUES (0)")
    version = _value(cursor, "SELECT version FROM ledger_version FOR UPDATE")
    if not isinstance(version, int):
        raise LedgerError(f"state {where}: is no ledger: ledger_version is empty: restore a backup")
    if version > len(MIGRATIONS):
        raise LedgerError(_other_version(where, version))
    if 0 < version < len(MIGRATIONS):
        cursor.execute("LOCK TABLE feed IN ACCESS EXCLUSIVE MODE")
        cursor.execute("DELETE FROM replica")
        cursor.execute(
            "UPDATE feed SET owner = NULL, wanted_by = NULL, epoch = epoch + 1, free_since = now()"
        )
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            cursor.execute(statement)
    if version < len(MIGRATIONS):
        cursor.execute("UPDATE ledger_version SET version = %s", (len(MIGRATIONS),))
    return version


def _value(cursor: "psycopg.Cursor[TupleRow]", statement: str) -> object:
    found = cursor.execute(statement).fetchone()
    return found[0] if found else None


def _other_version(where: str, version: int) -> str:
    if version > len(MIGRATIONS):
        return (
            f"state {where}: written by a newer exporter (schema {version}, this one knows {len(MIGRATIONS)}): use that"
            " version, or another state.url"
        )
    return (
        f"state {where}: has schema {version}, this exporter needs {len(MIGRATIONS)}: run it once to migrate"
    )
