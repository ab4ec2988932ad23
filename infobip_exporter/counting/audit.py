"""The audit: three numbers of a cell must agree with the log whenever all of it is read again.

They are the count of its messages, the XOR of their keys, and the sum of the outcomes of those that have settled. An
agreement by chance of two different sets of messages is as likely as a collision of 64 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.known import STATUS_MASK, ByTime, Known, outcomes
from infobip_exporter.counting.rows import Rows
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import TimeRange

EDGE_MS = 300_000
"""Cells so close to leaving the log prove nothing: some of their messages may leave before the answer."""
AUDIT_AGE_MS = LOG_KEEPS_MS // 2
"""The read that completes the audit of a cell comes at this age: what has turned up by then is seen, however late, and
as much time again is left to read it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a read of all of a cell has found, in messages by the value of the label `result`."""

    range: TimeRange
    messages: Mapping[str, int]


def settle(cell: Cell, settled: NDArray[np.void], statuses: Statuses) -> Cell:
    """The final cell with the outcomes of messages that have settled since it became final."""
    if not len(settled):
        return cell
    return cell._replace(outcomes=(cell.outcomes + _sum_settled(settled, statuses)) % (1 << 64))


class Shown:
    """The records of an answer: how many any range has, and their two sums."""

    def __init__(self, rows: Rows, statuses: Statuses) -> None:
        records = rows.records
        order = np.argsort(records.sent_ms, kind="stable")
        keys = rows.keys[order]
        self.rows = rows
        self._sent_ms = records.sent_ms[order]
        final = np.array([kind.final for kind in records.kinds], np.bool_)
        names = [statuses.kept(kind.general_status) if kind.final else "" for kind in records.kinds]
        of_kind = records.of_kind[order]
        added = np.where(final[of_kind], outcomes(keys, names, of_kind), np.uint64(0))
        none = np.zeros(1, np.uint64)
        self._ids = np.concatenate([none, np.bitwise_xor.accumulate(keys)])
        self._outcomes = np.concatenate([none, np.cumsum(added, dtype=np.uint64)])
        self._in_flight = np.append(0, np.cumsum(~final[of_kind]))

    def numbers(self, wanted: TimeRange) -> tuple[int, int, int]:
        """Count, XOR of the keys and sum of the outcomes of the records sent in `wanted`."""
        places = np.searchsorted(self._sent_ms, wanted)
        first, last = places.tolist()
        first_ids, last_ids = self._ids[places].tolist()
        first_outcomes, last_outcomes = self._outcomes[places].tolist()
        return last - first, first_ids ^ last_ids, (last_outcomes - first_outcomes) % (1 << 64)

    def in_flight(self, wanted: TimeRange) -> int:
        """How many of the records sent in `wanted` are in flight."""
        first, last = self._in_flight[np.searchsorted(self._sent_ms, wanted)].tolist()
        return int(last - first)


def finalize(
    cell: Cell, known: Known, shown: Shown, statuses: Statuses, *, recovered: int
) -> tuple[Cell, Finding | None]:
    """The cell as final, with its audit numbers, and what this last read says of the reads before.

    `known` are its messages after the read, `recovered` is how many of those in the log were new.
    """
    messages, ids, _ = shown.numbers(cell.range)
    in_log = shown.rows.show(known.settled["key"])
    final = cell._replace(
        final=True,
        messages=messages,
        ids=ids,
        outcomes=_sum_settled(known.settled[in_log], statuses),
    )
    if cell.reads < 2:
        return final, None
    vanished = int((~in_log).sum()) + int((~shown.rows.show(known.keys_in_flight())).sum())
    found = {"verified": messages - recovered, "recovered": recovered, "vanished": vanished}
    return final, Finding(cell.range, found)


def audit(cell: Cell, known: Known, shown: Shown, asked_ms: int) -> tuple[Cell, Finding]:
    """The final cell as the log has it, and how far it agreed. Differences are reported once: the log's numbers stay.

    `known` are the messages known in it after the read.
    """
    messages, ids, outcome = shown.numbers(cell.range)
    missed = max(0, messages - cell.messages)
    vanished = max(0, cell.messages - messages)
    other_outcomes = outcome != cell.outcomes and not cell.uncounted
    if not missed and not vanished and (ids != cell.ids or other_outcomes):
        # One of each at the least: another message, or another outcome; maybe in the part that was read before.
        missed, vanished = 1, 1
    found = {"verified": max(0, messages - missed), "missed": missed, "vanished": vanished}
    audited = cell.audited or asked_ms >= cell.until_ms + AUDIT_AGE_MS
    counted = int(shown.rows.show(known.keys_in_flight()).sum())
    uncounted = max(0, shown.in_flight(cell.range) - counted)
    after = cell._replace(audited=audited, messages=messages, uncounted=uncounted, ids=ids, outcomes=outcome)
    return after, Finding(cell.range, found)


def divide(
    cell: Cell, proven: TimeRange, shown: Shown, new_settled: ByTime, statuses: Statuses
) -> list[Cell]:
    """The final cell in two, where an answer has shown a part of it that reaches one of its ends; else as it is.

    What was shown gets the log's numbers, and the rest what the cell's then leave: when that is read, too, the sum of
    both has been held against the log. `new_settled` are the messages that have settled by this answer, which the cell's
    numbers do not know yet.
    """
    part = cell.range.meet(proven)
    if not 0 < part.length_ms < cell.range.length_ms:
        return [cell]
    if part.since_ms == cell.since_ms:
        rest = TimeRange(part.until_ms, cell.until_ms)
    elif part.until_ms == cell.until_ms:
        rest = TimeRange(cell.since_ms, part.since_ms)
    else:
        return [cell]
    messages, ids, outcome = shown.numbers(part)
    outcome = (outcome - _sum_settled(new_settled.within(part).settled, statuses)) % (1 << 64)
    if messages > cell.messages:  # the part alone differs from all that was counted
        messages, ids, outcome = cell.messages, cell.ids, cell.outcomes
    left = cell._replace(
        messages=cell.messages - messages,
        ids=cell.ids ^ ids,
        outcomes=(cell.outcomes - outcome) % (1 << 64),
    )
    return [
        cell._replace(**part._asdict(), messages=messages, ids=ids, outcomes=outcome),
        left._replace(**rest._asdict()),
    ]


def _sum_settled(settled: NDArray[np.void], statuses: Statuses) -> int:
    if not len(settled):
        return 0
    numbers = settled["flags"] & STATUS_MASK
    return int(outcomes(settled["key"], statuses.names, numbers).sum(dtype=np.uint64))
