"""A feed's one way to its ledger: what is to be committed, and what is known of messages."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec
from structlog.typing import FilteringBoundLogger

from infobip_exporter.counting import known as known_
from infobip_exporter.counting.known import Known
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.infobip.clock import Bounds
from infobip_exporter.infobip.rate_limit import Kept
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.model.cells import NEVER_MS, Cell
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.series import Series
from infobip_exporter.model.time_range import HOUR_MS, TimeRange, TimeRanges

LEDGER_RETRY_S = 5.0
RESERVED_REQUESTS = 4
"""Requests that may be made before the next commit: as many as may be under way at once,"""
RESERVED_FOR_S = 30.0
"""and within this time of the last one."""
T = TypeVar("T")


class Writer:
    """Writes a feed's ledger. `progress` is what the next commit will say of how far the feed has come.

    `kept_requests` gives the last minute's requests as they are to be stored, `published` is called after each commit.
    While the ledger can't be written or read nothing is asked and nothing is forgotten: it waits until that succeeds.
    """

    def __init__(
        self,
        ledger: Ledger,
        incidents: Incidents,
        clock: Clock,
        worker: Worker,
        log: FilteringBoundLogger,
        *,
        kept_requests: Callable[[], Kept],
        published: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.progress = ledger.progress
        self.later = Changes()
        """Counts that wait for the next commit."""
        self.statuses = Statuses(ledger.progress.statuses)
        self.log = log
        self._incidents = incidents
        self._clock = clock
        self._worker = worker
        self._kept_requests = kept_requests
        self._published = published
        self._reserved = 0
        self._reserved_until_s = 0.0

    def move(self, **progress: object) -> None:
        """Change what the next commit will say of the progress."""
        self.progress = msgspec.structs.replace(self.progress, **progress)

    def advance(self, watermark_ms: int) -> None:
        """Move the watermark on, if it is behind that: what lies between and was not read is unread."""
        progress = self.progress
        if watermark_ms <= progress.watermark_ms:
            return
        passed = TimeRange(max(progress.watermark_ms, progress.begin_ms or 0), watermark_ms)
        read = [cell.range for cell in self.ledger.cells.between(passed) if cell.read_ms != NEVER_MS]
        new = TimeRanges([passed]).without(TimeRanges(read))
        self.move(unread=TimeRanges([*progress.unread, *new]), watermark_ms=watermark_ms)

    # Commits

    async def reserve(self) -> None:
        """Make durable that a request may be under way before it is: a restart then makes none too many."""
        while True:
            if not self.ledger.may_act():
                await self._wait_for_ledger(LedgerError("lease has run out, waiting for the database"))
            elif self._reserved <= 0 or self._clock.monotonic_s() > self._reserved_until_s:
                await self.commit()
            else:
                break
        self._reserved -= 1

    async def commit(self, changes: Changes | None = None) -> None:
        """Commit `changes`, what waits, and the progress; on a ledger that can't be written, as soon as it can."""
        changes = changes or Changes()
        changes.merge(self.later)
        self.later = Changes()
        while True:
            kept = self._kept_requests()
            reserved_until_s = kept.monotonic_s + RESERVED_FOR_S
            reserved = (reserved_until_s,) * RESERVED_REQUESTS
            self.move(
                requests=msgspec.structs.replace(kept, times=kept.times + reserved),
                statuses=tuple(self.statuses.names),
            )
            changes.progress = self.progress
            try:
                await self._worker.run(lambda: self.ledger.commit(changes))
            except LedgerError as error:
                await self._wait_for_ledger(error)
                continue
            self._reserved, self._reserved_until_s = RESERVED_REQUESTS, reserved_until_s
            self._incidents.ended("state")
            self._published()
            return

    async def look(self, look: Callable[[], T]) -> T:
        """What `look` finds in the ledger; in one that can't be read, as soon as it can."""
        while True:
            try:
                return await self._worker.run(look)
            except LedgerError as error:
                await self._wait_for_ledger(error)

    async def _wait_for_ledger(self, error: LedgerError) -> None:
        self._incidents.began("state", str(error))
        self._published()
        await self._clock.sleep(LEDGER_RETRY_S)

    # What is known of messages

    async def known_in(self, cells: Sequence[Cell]) -> Known:
        """The messages known one by one of these cells."""
        moments = [cell.since_ms for cell in cells]
        found = await self.look(lambda: self.ledger.messages(moments)) if moments else {}
        return known_.join(
            Known(
                known_.decode_settled(messages.settled, since_ms),
                known_.decode_in_flight(messages.in_flight, since_ms),
            )
            for since_ms, messages in found.items()
        )

    def prune(self, now: Bounds) -> None:
        """Let go of what no longer serves, with the next commit that comes along."""
        if now.certain:
            self.later.prune_before_ms = now.earliest_ms - LOG_KEEPS_MS - HOUR_MS


def lose(changes: Changes, lost_ms: int, reason: str) -> None:
    """Report that messages of so much sent time may be missing."""
    if lost_ms:
        changes.add(Series.of(catalog.LOST.name, reason=reason), Decimal(lost_ms).scaleb(-3))
