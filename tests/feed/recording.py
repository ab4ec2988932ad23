"""A feed's recorder on a ledger in memory, driven answer by answer."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import TypeVar

import structlog

from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.cells_after import Reading
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.feed.recorder import Recorder
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.infobip.rate_limit import Kept
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import DEFAULT, Choice, Family
from infobip_exporter.model.cells import NEVER_MS
from infobip_exporter.model.record import Kind, Page, Record, Records
from infobip_exporter.model.time_range import TimeRange, TimeRanges

T = TypeVar("T")

BEGIN_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
PENDING = Kind("PENDING", "OK", "PENDING_ENROUTE", "", "false", "shop", "web", "EUR", Decimal("0.1"), 1)
DELIVERED = PENDING._replace(general_status="DELIVERED", status="DELIVERED_TO_HANDSET")
REJECTED = PENDING._replace(general_status="REJECTED", status="REJECTED_NETWORK")


def row(message_id: str, at_s: float, kind: Kind = DELIVERED) -> Record:
    """A record sent so many seconds after `BEGIN_MS`."""
    sent_ms = BEGIN_MS + round(at_s * 1000)
    return Record(message_id, sent_ms, sent_ms + 500 if kind.final else None, kind, "sender")


class Inline:
    """Does the work at once."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()


@dataclass
class StillClock:
    """Time that stands where it was put."""

    now_s: float = 1000.0

    def wall_s(self) -> float:
        return BEGIN_MS / 1000 + self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Recording:
    """A ledger that holds the time from `BEGIN_MS` up to `watermark_s`, all of it unread."""

    watermark_s: float = 3600.0
    final_age_ms: int = HOUR_MS
    page_rows: int = 1000
    clock: StillClock = field(default_factory=StillClock)

    def __post_init__(self) -> None:
        self.store = SqliteStore(sqlite3.connect(":memory:", isolation_level=None), "memory")
        self.store.create_tables()
        self.start()
        watermark_ms = BEGIN_MS + round(self.watermark_s * 1000)
        self.recorder.move(
            begin_ms=BEGIN_MS, watermark_ms=watermark_ms, unread=TimeRanges([(BEGIN_MS, watermark_ms)])
        )

    def start(self, choice: Choice = DEFAULT) -> None:
        """A new process on the same ledger, as it was committed; it counts by these labels."""
        self.ledger = Ledger(self.store, "main", "instagram")
        log = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[])
        self.recorder = Recorder(
            self.ledger,
            Caps(1000, [*self.ledger.counters], choice=choice),
            Incidents(log, self.clock),
            self.clock,
            Inline(),
            log,
            page_rows=self.page_rows,
            log_failures=False,
            kept_requests=lambda: Kept((), self.clock.wall_s(), self.clock.now_s, "boot"),
            published=lambda: None,
        )

    async def read(
        self,
        since_s: float,
        until_s: float,
        records: Sequence[Record],
        *,
        now_s: float,
        proven: bool = True,
        oversized: bool = False,
    ) -> list[TimeRange]:
        """Record an answer that shows `records` of this range, asked for at `now_s`."""
        now = bounds(now_s)
        inside = TimeRange(*(BEGIN_MS + round(each * 1000) for each in (since_s, until_s)))
        return await self.recorder.record(
            Reading(
                Page(Records.of(records), len(records)),
                inside if proven else None,
                now,
                now,
                self.final_age_ms,
                oversized=oversized,
            )
        )

    def total(self, family: Family, **labels: str) -> int | Decimal:
        """The sum of a family's series that have these labels."""
        return sum(
            value
            for series, value in self.ledger.counters.items()
            if series.family == family.name
            and all(series.label(name) == value for name, value in labels.items())
        )

    @property
    def sent(self) -> int | Decimal:
        return self.total(catalog.SENT)

    def check_partition(self) -> None:
        """Cells are disjoint, and between the beginning and the watermark each instant is either read or unread."""
        progress = self.recorder.progress
        cells = self.ledger.cells.between(TimeRange(0, 1 << 62))
        for before, after in pairwise(cells):
            assert before.until_ms <= after.since_ms, (before, after)
        read = TimeRanges(cell.range for cell in cells if cell.read_ms != NEVER_MS)
        assert progress.begin_ms is not None
        held = TimeRange(progress.begin_ms, progress.watermark_ms)
        assert not [each for each in progress.unread if read.meet(each).total_ms], "read and unread"
        assert not TimeRanges([held]).without(read).without(progress.unread), "neither read nor unread"


def bounds(now_s: float, *, certain: bool = True) -> Bounds:
    now_ms = BEGIN_MS + round(now_s * 1000)
    return Bounds(now_ms, now_ms + 1000, certain)
