"""The store in PostgreSQL, for several replicas: every commit is one statement that checks who owns the feed."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from infobip_exporter.errors import LeaseLost, LedgerError
from infobip_exporter.ledger.encoding import labels_of, labels_text, stored_cell, value_of
from infobip_exporter.ledger.leases import Lease
from infobip_exporter.ledger.postgres_commit import Commit
from infobip_exporter.ledger.postgres_connections import Connections, Row
from infobip_exporter.ledger.store import Held, Messages, Saved, Writes
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Series


class PostgresStore:
    """The ledgers that the replica of `lease` owns. Any thread may use it; a feed by one at a time."""

    def __init__(self, connections: Connections, lease: Lease) -> None:
        self.where = connections.where
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
        return read_saved(self._connections.run, self.where, Held(feed_id, epoch), progress)

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

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
        return read_messages(self._connections.run, held, cells)

    def known_rejected(self, held: Held, fingerprints: Iterable[bytes]) -> set[bytes]:
        rows = self._connections.run(
            "SELECT fingerprint FROM rejected WHERE feed_id = %(feed)s AND fingerprint = ANY(%(wanted)s::bytea[])",
            {"feed": held.feed_id, "wanted": list(fingerprints)},
        )
        return {fingerprint for (fingerprint,) in rows}

    def released(self, held: Held) -> set[Series]:
        return read_released(self._connections.run, held)

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


Run = Callable[[str, Mapping[str, object]], list[Row]]
"""Runs a statement with its parameters and gives the rows."""


def read_saved(run: Run, where: str, held: Held, progress: bytes) -> Saved:
    """What the tables hold of a feed. Raises LedgerError for values that no exporter wrote."""

    def rows(statement: str) -> list[Row]:
        return run(statement, {"feed": held.feed_id})

    try:
        return Saved(
            held,
            progress,
            {
                Series(family, labels_of(labels)): value_of(
                    int(value) if value.lstrip("-").isdigit() else value
                )
                for family, labels, value in rows(
                    "SELECT family, labels, value FROM series WHERE feed_id = %(feed)s"
                )
            },
            [
                stored_cell(row)
                for row in rows(
                    f"SELECT {', '.join(Cell._fields)} FROM cell WHERE feed_id = %(feed)s ORDER BY since_ms"
                )
            ],
            {
                (hour, str(json.loads(status))): messages
                for hour, status, messages in rows(
                    "SELECT hour, general_status, messages FROM settled_by_hour WHERE feed_id = %(feed)s"
                )
            },
        )
    except (ValueError, TypeError, ArithmeticError, msgspec.MsgspecError) as error:
        raise LedgerError(
            f"state {where}: holds a value that no exporter wrote ({error}): run state check, or restore a"
            " backup"
        ) from error


def read_messages(run: Run, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
    rows = run(
        "SELECT wanted.since_ms, settled.messages, in_flight.messages"
        " FROM unnest(%(cells)s::bigint[]) AS wanted (since_ms)"
        " LEFT JOIN settled ON settled.feed_id = %(feed)s AND settled.since_ms = wanted.since_ms"
        " LEFT JOIN in_flight ON in_flight.feed_id = %(feed)s AND in_flight.since_ms = wanted.since_ms",
        {"feed": held.feed_id, "cells": list(cells)},
    )
    return {since_ms: Messages(settled or b"", in_flight or b"") for since_ms, settled, in_flight in rows}


def read_released(run: Run, held: Held) -> set[Series]:
    rows = run("SELECT family, labels FROM released WHERE feed_id = %(feed)s", {"feed": held.feed_id})
    return {Series(family, labels_of(labels)) for family, labels in rows}
