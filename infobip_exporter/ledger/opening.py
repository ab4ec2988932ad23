"""The store that a configuration names."""

import os
import socket

import structlog

from infobip_exporter.config.schema import State
from infobip_exporter.errors import LedgerAway
from infobip_exporter.ledger.leases import Lease, Leases
from infobip_exporter.ledger.postgres import PostgresStore
from infobip_exporter.ledger.postgres_connections import Connections
from infobip_exporter.ledger.postgres_schema import migrate
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.ledger.store import Store

_log = structlog.get_logger()


def open_store(state: State) -> tuple[Store, tuple[Leases, Lease] | None]:
    """The store, and for PostgreSQL what divides the feeds among replicas. Raises LedgerError.

    A database that can't be reached yet is waited for by whoever uses the leases.
    """
    if not state.is_postgres:
        return SqliteStore.open(state.file), None
    connections = connections_of(state)
    try:
        migrate(connections)
    except LedgerAway as error:
        _log.error("state failed, retrying", error=str(error))
    lease = Lease(state.lease_s)
    leases = Leases(connections, lease, f"{socket.gethostname()}/{os.getpid()}")
    return PostgresStore(connections, lease), (leases, lease)


def connections_of(state: State) -> Connections:
    """Connections to the database of `state`; none is opened yet."""
    return Connections(state.place, state.password, state.password_file)
