"""A commit as one statement of PostgreSQL: a part for each table that changes, all behind the check of the owner."""

import json
from collections.abc import Iterable, Mapping, Sequence

from infobip_exporter.ledger.encoding import labels_text, plain_value, signed
from infobip_exporter.ledger.store import Writes
from infobip_exporter.model.cells import Cell

_CELL_TYPES = {
    name: "integer"
    if name in ("messages", "in_flight", "reads", "uncounted")
    else "boolean"
    if name in ("final", "audited", "auditable")
    else "bigint"
    for name in Cell._fields
}

# Each attempt has a number of its own: a statement that was held up on its way changes nothing after later ones.
_HELD = """
held AS (
    UPDATE feed SET commits = %(number)s, progress = coalesce(%(progress)s, progress),
        read_up_to_ms = coalesce(%(read_up_to_ms)s, read_up_to_ms)
    WHERE id = %(feed)s AND epoch = %(epoch)s AND commits <= %(number)s
    RETURNING id
)"""


class Commit:
    """The statement for `writes`. It gives one number: 0 if the feed has another owner and nothing was written.

    Its parameters are `parameters`, and those of the check: feed, epoch, number, progress, read_up_to_ms.
    """

    def __init__(self, writes: Writes) -> None:
        self._parts = [_HELD]
        self.parameters: dict[str, object] = {}
        self._write_series(writes)
        self._write_cells(writes)
        for table, messages in (("settled", writes.settled), ("in_flight", writes.in_flight_messages)):
            self._write_messages(table, messages, set(writes.gone))
        self._write_hours(writes)
        self._write_rejected(writes)

    @property
    def statement(self) -> str:
        return f"WITH {', '.join(self._parts)} SELECT count(*) FROM held"

    def _write_series(self, writes: Writes) -> None:
        self._upsert(
            "series",
            ("family", "labels"),
            {
                "family": ("text", [series.family for series in writes.series]),
                "labels": ("text", [labels_text(series) for series in writes.series]),
                "value": ("text", [str(plain_value(value)) for value in writes.series.values()]),
            },
        )

    def _write_cells(self, writes: Writes) -> None:
        rows = [(*cell[:-2], signed(cell.ids), signed(cell.outcomes)) for cell in writes.cells]
        # A row can be changed once in a statement: what is written anew is not deleted.
        self._delete_moments("cell", set(writes.gone).difference(cell.since_ms for cell in writes.cells))
        columns = zip(_CELL_TYPES.items(), zip(*rows, strict=True), strict=False)
        self._upsert("cell", ("since_ms",), {name: (kind, list(values)) for (name, kind), values in columns})

    def _write_messages(self, table: str, messages: Mapping[int, bytes], gone: set[int]) -> None:
        kept = {since_ms: data for since_ms, data in messages.items() if data}
        self._delete_moments(table, (gone | messages.keys()) - kept.keys())
        self._upsert(
            table,
            ("since_ms",),
            {"since_ms": ("bigint", list(kept)), "messages": ("bytea", list(kept.values()))},
        )

    def _write_hours(self, writes: Writes) -> None:
        first = 0 if writes.prune_before_ms is None else writes.prune_before_ms // 3_600_000
        hours = {key: n for key, n in writes.settled_by_hour.items() if key[0] >= first}
        if writes.prune_before_ms is not None:
            self._delete("settled_by_hour", "hour < %(first_hour)s", first_hour=first)
        self._upsert(
            "settled_by_hour",
            ("hour", "general_status"),
            {
                "hour": ("integer", [hour for hour, _ in hours]),
                "general_status": ("text", [json.dumps(status) for _, status in hours]),
                "messages": ("bigint", list(hours.values())),
            },
        )

    def _write_rejected(self, writes: Writes) -> None:
        if writes.prune_before_ms is not None:
            self._delete("rejected", "read_ms < %(prune_before_ms)s", prune_before_ms=writes.prune_before_ms)
        self._upsert(
            "rejected",
            ("fingerprint",),
            {
                "fingerprint": ("bytea", list(writes.rejected)),
                "read_ms": ("bigint", list(writes.rejected.values())),
            },
        )

    def _delete_moments(self, table: str, moments: Iterable[int]) -> None:
        if ended := list(moments):
            self._delete(table, f"since_ms = ANY(%(gone_{table})s::bigint[])", **{f"gone_{table}": ended})

    def _delete(self, table: str, condition: str, **parameters: object) -> None:
        self._parts.append(
            f"gone_{table} AS (DELETE FROM {table} USING held WHERE feed_id = held.id AND {condition})"
        )
        self.parameters |= parameters

    def _upsert(
        self, table: str, keys: Sequence[str], columns: Mapping[str, tuple[str, Sequence[object]]]
    ) -> None:
        """Insert rows, given by column with its type, or replace those with the same keys."""
        if not any(values for _, values in columns.values()):
            return
        for name, (_, values) in columns.items():
            self.parameters[f"{table}_{name}"] = values
        arrays = ", ".join(f"%({table}_{name})s::{kind}[]" for name, (kind, _) in columns.items())
        changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
        self._parts.append(
            f"new_{table} AS (INSERT INTO {table} (feed_id, {', '.join(columns)})"
            f" SELECT held.id, new.* FROM held, unnest({arrays}) AS new"
            f" ON CONFLICT (feed_id, {', '.join(keys)}) DO UPDATE SET {changed})"
        )
