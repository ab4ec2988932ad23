"""What a state holds, read at one moment while an exporter may be writing it. Nothing is changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from infobip_exporter.config.schema import State
from infobip_exporter.ledger import postgres_contents, sqlite_contents
from infobip_exporter.ledger.opening import connections_of
from infobip_exporter.ledger.postgres_contents import PostgresContents
from infobip_exporter.ledger.sqlite_contents import SqliteContents

Contents: TypeAlias = SqliteContents | PostgresContents


@contextmanager
def reading(state: State) -> Iterator[Contents]:
    """What `state` holds at one moment. Raises LedgerError if it can't be read."""
    if state.is_postgres:
        connections = connections_of(state)
        try:
            with postgres_contents.reading(connections) as tables:
                yield tables
        finally:
            connections.close()
    else:
        with sqlite_contents.reading(state.file) as file:
            yield file
