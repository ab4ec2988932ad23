"""What a feed shows of its ledger."""

from collections import defaultdict
from typing import Any

import numpy as np

from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics.snapshot import FeedSnapshot


def show(ledger: Ledger, **of_feed: Any) -> FeedSnapshot:
    """The snapshot of a feed: what its ledger holds, and `of_feed`, the fields that the ledger does not know."""
    progress = ledger.progress
    by_hour: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for (hour, status), messages in ledger.settled_by_hour.items():
        by_hour[hour][status] = messages
    waiting = ledger.cells.table["oldest_in_flight_ms"][ledger.cells.table["in_flight"] > 0]
    return FeedSnapshot(
        counters=ledger.counters,
        histograms=ledger.histograms,
        in_flight=ledger.in_flight,
        oldest_in_flight_ms=int(waiting.min()) if len(waiting) else None,
        last_sent_ms=progress.last_sent_ms,
        read_up_to_ms=progress.read_up_to_ms,
        backlog_ms=progress.unread.total_ms,
        verified_up_to_ms=_verified_up_to_ms(ledger),
        by_hour=dict(by_hour),
        **of_feed,
    )


def _verified_up_to_ms(ledger: Ledger) -> int | None:
    """The sent time up to which each cell was read whole at least twice, once at or after the final age."""
    if ledger.progress.begin_ms is None:
        return None
    table = ledger.cells.table
    open_cells = np.flatnonzero(~table["final"] | (table["auditable"] & (table["reads"] < 2)))
    if len(open_cells) == 0 or open_cells[0] == 0:
        return None
    up_to_ms = int(table["since_ms"][open_cells[0]])
    unread = ledger.progress.unread
    return min(up_to_ms, unread.ranges[0].since_ms) if unread else up_to_ms
