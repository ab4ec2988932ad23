"""The store in PostgreSQL, for several replicas: every commit is one statement that checks who owns the feed."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from infobip_exporter.errors import LeaseLost
from infobip_exporter.ledger.encoding import labels_text
from infobip_exporter.ledger.leases import Lease
from infobip_exporter.ledger.postgres_commit import Commit
from infobip_exporter.ledger.postgres_connections import Connections
from infobip_exporter.ledger.store import Held, Messages, Saved, Writes
from infobip_exporter.ledger.tables import Row, Tables
from infobip_exporter.model.series import Series


class Run(Protocol):
    def __call__(self, statement: str, parameters: Mapping[str, object] | None = None, /) -> list[Row]:
        """The rows of a statement."""


class PostgresTables(Tables):
    """The tables at `where`, read by `run`."""

    def __init__(self, where: str, run: Run) -> None:
        self.where = where
        self._run = run

    def select(self, statement: str) -> list[Row]:
        return self._run(statement)

    def status_of(self, stored: object) -> str:
        return str(json.loads(str(stored)))

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
        rows = self._run(
            "SELECT wanted.since_ms, settled.messages, in_flight.messages"
            " FROM unnest(%(cells)s::bigint[]) AS wanted (since_ms)"
            " LEFT JOIN settled ON settled.feed_id = %(feed)s AND settled.since_ms = wanted.since_ms"
            " LEFT JOIN in_flight ON in_flight.feed_id = %(feed)s AND in_flight.since_ms = wanted.since_ms",
            {"feed": held.feed_id, "cells": list(cells)},
        )
        return {since_ms: Messages(settled or b"", in_flight or b"") for since_ms, settled, in_flight in rows}


class PostgresStore(PostgresTables):
    """The ledgers that the replica of `lease` owns. Any thread may use it; a feed by one at a time."""

    def __init__(self, connections: Connections, lease: Lease) -> None:
        super().__init__(connections.where, connections.run)
        self._connections = connections
        self._lease = lease

    def load(self, account: str, channel: str) -> Saved:
        """What is kept of a feed that this replica owns. Whatever was begun before by others, or by itself, is fenced off."""
        found = self._connections.run(
            "UPDATE feed SET epoch = epoch + 1, commits = 0"
            " WHERE account = %(account)s AND channel = %(channel)s AND owner = %(owner)s"
            " RETURNING id, epoch, progress",
            {"account": account, "channel": channel, "owner": self._lease.replica},
        )
        if not found:
            raise LeaseLost(f"{account}/{channel} has another owner")
        [(feed_id, epoch, progress)] = found
        return self.saved(Held(feed_id, epoch), progress)

    def commit(self, held: Held, writes: Writes) -> None:
        commit = Commit(writes)
        held.commits += 1
        fence = {
            "feed": held.feed_id,
            "epoch": held.epoch,
            "number": held.commits,
            "progress": writes.progress,
            "read_up_to_ms": writes.read_up_to_ms,
        }
        [(written,)] = self._connections.run(commit.statement, fence | commit.parameters)
        if not written:
            raise LeaseLost("the feed has another owner")

    def known_rejected(self, held: Held, fingerprints: Iterable[bytes]) -> set[bytes]:
        rows = self._connections.run(
            "SELECT fingerprint FROM rejected WHERE feed_id = %(feed)s AND fingerprint = ANY(%(wanted)s::bytea[])",
            {"feed": held.feed_id, "wanted": list(fingerprints)},
        )
        return {fingerprint for (fingerprint,) in rows}

    def save_released(self, held: Held, series: Collection[Series]) -> None:
        if not series:
            return
        rows = self._connections.run(
            "WITH held AS (SELECT id FROM feed WHERE id = %(feed)s AND epoch = %(epoch)s FOR SHARE)"
            " INSERT INTO released SELECT held.id, new.* FROM held,"
            " unnest(%(family)s::text[], %(labels)s::text[]) AS new"
            " ON CONFLICT (feed_id, family, labels) DO UPDATE SET labels = excluded.labels RETURNING 1",
            {
                "feed": held.feed_id,
                "epoch": held.epoch,
                "family": [each.family for each in series],
                "labels": [labels_text(each) for each in series],
            },
        )
        if not rows:
            raise LeaseLost("the feed has another owner")

    def may_act(self) -> bool:
        return self._lease.holds()

    def close(self) -> None:
        self._connections.close()
