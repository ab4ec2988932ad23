"""The ledger of one feed: the totals in memory as they were committed, and the commit that changes them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger import progress as progress_
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.store import Messages, Store, Writes
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import Cells
from infobip_exporter.model.series import Histogram, Series, added, merged

K = TypeVar("K")


class Ledger:
    """A feed's durable state. The attributes hold what the last commit left; only `commit` changes them.

    They are replaced, never changed in place: a reader in another thread may keep what it took. All methods may block,
    and raise LedgerError.
    """

    def __init__(self, store: Store, account: str, channel: str) -> None:
        saved = store.load(account, channel)
        self._store = store
        self.unsure = False
        """Whether a commit has failed of which nobody can say that it wrote nothing: only the same may follow."""
        self._held = saved.held
        try:
            self.progress = progress_.decode(saved.progress)
        except msgspec.MsgspecError as error:
            raise LedgerError(
                f"state {store.where}: the progress of {account}/{channel} can't be read ({error}): restore a backup"
            ) from error
        numbers = {s: v for s, v in saved.series.items() if not isinstance(v, Histogram)}
        self.counters: Mapping[Series, int | Decimal] = {
            s: v for s, v in numbers.items() if s.family != catalog.IN_FLIGHT.name
        }
        self.in_flight: Mapping[Series, int] = {
            s: int(v) for s, v in numbers.items() if s.family == catalog.IN_FLIGHT.name
        }
        self.histograms: Mapping[Series, Histogram] = {
            s: v for s, v in saved.series.items() if isinstance(v, Histogram)
        }
        self.cells = Cells(saved.cells)
        self.settled_by_hour: Mapping[tuple[int, str], int] = saved.settled_by_hour

    def may_act(self) -> bool:
        """Whether this process is surely the only one that asks and shows for the feed."""
        return self._store.may_act()

    def messages(self, cells: Sequence[int]) -> dict[int, Messages]:
        """What is kept of the messages of these cells, by their `since_ms`."""
        return self._store.messages(self._held, cells)

    def known_rejected(self, fingerprints: Iterable[bytes]) -> set[bytes]:
        """Which of these rows have been counted as rejected already."""
        return self._store.known_rejected(self._held, fingerprints)

    def released(self) -> set[Series]:
        """What was saved for ZeroStart."""
        return self._store.released(self._held)

    def save_released(self, series: Collection[Series]) -> None:
        """Make durable what ZeroStart has to remember."""
        self._store.save_released(self._held, series)

    def commit(self, changes: Changes) -> None:
        """Do all of `changes`. After a LedgerError the same must be committed again, or the ledger opened anew."""
        counters = {
            series: added(self.counters.get(series, 0), by) for series, by in changes.counters.items()
        }
        histograms = {
            series: merged(self.histograms[series], by) if series in self.histograms else by
            for series, by in changes.histograms.items()
        }
        in_flight = {series: self.in_flight.get(series, 0) + by for series, by in changes.in_flight.items()}
        by_hour = _added(self.settled_by_hour, changes.settled_by_hour)
        cells = self.cells
        if changes.gone or changes.cells:
            cells = cells.replaced(changes.gone, changes.cells)
        self.unsure = True
        self._store.commit(
            self._held,
            Writes(
                series={**counters, **histograms, **in_flight},
                gone=sorted(changes.gone),
                cells=changes.cells,
                settled=changes.settled,
                in_flight_messages=changes.in_flight_messages,
                settled_by_hour={key: by_hour[key] for key in changes.settled_by_hour},
                rejected=changes.rejected,
                progress=progress_.encode(changes.progress) if changes.progress else None,
                read_up_to_ms=changes.progress.read_up_to_ms if changes.progress else None,
                prune_before_ms=changes.prune_before_ms,
            ),
        )
        self.unsure = False
        # Committed. Nothing below may fail: the same changes would be committed again.
        self.counters = {**self.counters, **counters}
        self.histograms = {**self.histograms, **histograms}
        self.in_flight = {**self.in_flight, **in_flight}
        self.cells = cells
        self.settled_by_hour = by_hour
        self.progress = changes.progress or self.progress
        if changes.prune_before_ms is not None:
            first = changes.prune_before_ms // 3_600_000
            self.settled_by_hour = {key: n for key, n in by_hour.items() if key[0] >= first}


def _added(before: Mapping[K, int], by: Counter[K]) -> Mapping[K, int]:
    return {**before, **{key: before.get(key, 0) + n for key, n in by.items()}} if by else before
