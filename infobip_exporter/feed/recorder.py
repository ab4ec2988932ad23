"""From what was read to the ledger: one commit for each part of a walk, whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TypeVar

import msgspec
from structlog.typing import FilteringBoundLogger

from infobip_exporter.counting.count import NEVER_MS, Counting
from infobip_exporter.counting.labels import Caps
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.time import Time
from infobip_exporter.feed.trouble import Troubles
from infobip_exporter.infobip.channels import LOG_KEEPS_MS
from infobip_exporter.ledger.changes import Changes, Remembered
from infobip_exporter.ledger.ledger import HOUR_MS, MINUTE_MS, Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import InFlight, Series
from infobip_exporter.model.record import Record, RejectedRow
from infobip_exporter.reading.dialogue import Read, Reply
from infobip_exporter.reading.spans import Span, SpanSet

UNRESOLVED_AT_ONCE = 20_000
LEDGER_RETRY_S = 5.0
RESERVATION_S = 1.0
_SENT_MS = attrgetter("sent_ms")

T = TypeVar("T")


@dataclass(slots=True)
class Found:
    """What a poll has found, in messages."""

    new: int = 0
    settled: int = 0


class Recorder:
    """Writes a feed's ledger. `progress` is what the next commit will say of how far the feed has come.

    `request_times` gives the monotonic times of the last minute's requests, `published` is called after each commit.
    While the ledger can't be written or read nothing is asked and nothing is forgotten: it waits until that succeeds.
    """

    def __init__(
        self,
        ledger: Ledger,
        caps: Caps,
        troubles: Troubles,
        time: Time,
        log: FilteringBoundLogger,
        *,
        late_ms: int,
        request_times: Callable[[], Sequence[float]],
        published: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.progress = ledger.progress
        self.later = Changes()
        """Counts that wait for the next commit."""
        self.found = Found()
        self._caps = caps
        self._troubles = troubles
        self._time = time
        self._log = log
        self._late_ms = late_ms
        self._request_times = request_times
        self._published = published
        self._reserved_until_s = float("-inf")

    def move(self, **progress: object) -> None:
        """Change what the next commit will say of the progress."""
        self.progress = msgspec.structs.replace(self.progress, **progress)

    def done_looks(self, looked_ms: Mapping[int, int]) -> None:
        """The next commit will say that the rungs are done up to these moments, if not farther already."""
        before_ms = self.progress.looked_ms
        later_ms = {age_ms: max(up_to_ms, before_ms.get(age_ms, 0)) for age_ms, up_to_ms in looked_ms.items()}
        self.move(looked_ms={**before_ms, **later_ms})

    def reserve(self) -> None:
        """Make durable that a request may be under way, so that a restart makes none too many."""
        if self._time.monotonic() > self._reserved_until_s:
            self.commit()

    def use_reservation(self) -> None:
        self._reserved_until_s = float("-inf")

    def commit(self, changes: Changes | None = None) -> None:
        """Commit `changes`, what waits, and the progress; on a ledger that can't be written, as soon as it can."""
        changes = changes or Changes()
        changes.merge(self.later)
        self.later = Changes()
        while True:
            now = self._time.monotonic()
            behind = self._time.wall() - now
            times = (*self._request_times(), now + RESERVATION_S)
            self.move(request_times_ms=tuple(round((at + behind) * 1000) for at in times))
            changes.progress = self.progress
            try:
                self.ledger.commit(changes)
            except LedgerError as error:
                self._wait_for_ledger(error)
                continue
            self._reserved_until_s = now + RESERVATION_S
            self._troubles.ended("state")
            self._published()
            return

    def in_flight_between(self, span: Span, most: int) -> list[tuple[str, Remembered]]:
        """The ledger's, as soon as it can be read."""
        return self._look(lambda: self.ledger.in_flight_between(span, most))

    def read(self, read: Read, edge_ms: int) -> None:
        """Count what was read and take it off what is to be read.

        Records of time that had been read for good before serve the messages in flight alone. What lies before
        `edge_ms`, the oldest sent time surely still in the log, was not read whole and is told as lost.
        """
        progress = self.progress
        to_read = SpanSet((*progress.unread, *progress.open)).meet(read.span)
        open_from_ms = read.asked_ms - self._late_ms if read.whole else read.span.until_ms
        changes = Changes()
        counting = Counting(
            changes,
            self._look(lambda: self.ledger.remembered(read.span)),
            self._caps,
            open_from_ms=open_from_ms,
            hour=_hour_of(read.span),
        )
        first, again = _parted(read.records, read.span, to_read)
        counting.first_reads(first)
        counting.looks(again)
        counting.finish()
        self._reject(changes, read.rejected, edge_ms + LOG_KEEPS_MS)
        self._saw(read.records)
        still_open = to_read.above(open_from_ms)
        closed = to_read.below(open_from_ms)
        self.move(
            unread=progress.unread.remove(read.span),
            open=SpanSet((*progress.open.remove(read.span), *still_open)),
        )
        changes.forget_settled.extend(closed)
        self._lose(changes, to_read.below(edge_ms).total_ms, "expired")
        if not read.whole:
            self._lose(changes, to_read.total_ms, "too_dense")
            self._log.warning(
                "a millisecond holds more messages than the API shows; those seen are counted",
                sent_ms=read.span.since_ms,
                seen=len(read.records),
            )
        self._commit_found(changes, counting)

    def looked(self, reply: Reply, messages: Mapping[str, Remembered]) -> None:
        """Count what a look at `messages`, in flight in time that is closed, has shown."""
        changes = Changes()
        counting = Counting(changes, messages, self._caps, open_from_ms=NEVER_MS, hour=None)
        counting.looks(reply.page.records)
        counting.finish()
        self._commit_found(changes, counting)

    def expire(self, edge_ms: int, gone_ms: int) -> None:
        """Tell what has left the log: unread time before `edge_ms` is lost, what is in flight before `gone_ms` stays
        unresolved.
        """
        progress = self.progress
        lost = SpanSet((*progress.unread, *progress.open)).below(edge_ms)
        if lost:
            changes = Changes(forget_settled=list(lost), prune_before_ms=edge_ms - HOUR_MS)
            self._lose(changes, lost.total_ms, "expired")
            self.move(unread=progress.unread.above(edge_ms), open=progress.open.above(edge_ms))
            self._log.warning("sent time left the log before it was read whole", seconds=lost.total_ms / 1000)
            self.commit(changes)
        while unresolved := self.in_flight_between(Span(0, gone_ms), UNRESOLVED_AT_ONCE):
            changes = Changes(forget=dict(unresolved))
            for _, message in unresolved:
                labels = InFlight(message.general_status, message.entity_id, message.application_id)
                changes.in_flight[labels] -= 1
                changes.in_flight_by_minute[message.sent_ms // MINUTE_MS] -= 1
                changes.add(Series(catalog.UNRESOLVED.name, labels), 1)
            self.commit(changes)

    def prune(self, edge_ms: int) -> None:
        """Let go of what no longer serves, with the next commit that comes along."""
        self.later.prune_before_ms = edge_ms - HOUR_MS

    def _look(self, look: Callable[[], T]) -> T:
        """What `look` finds in the ledger; in one that can't be read, as soon as it can."""
        waited = False
        while True:
            try:
                found = look()
            except LedgerError as error:
                self._wait_for_ledger(error)
                waited = True
                continue
            if waited:
                self._troubles.ended("state")
                self._published()
            return found

    def _wait_for_ledger(self, error: LedgerError) -> None:
        self._troubles.began("state", str(error))
        self._published()
        self._time.sleep(LEDGER_RETRY_S)

    def _commit_found(self, changes: Changes, counting: Counting) -> None:
        self.commit(changes)
        self.found.new += counting.new
        self.found.settled += counting.settled

    def _saw(self, records: Sequence[Record]) -> None:
        last_ms = max(map(_SENT_MS, records), default=None)
        if last_ms is not None:
            self.move(last_sent_ms=max(last_ms, self.progress.last_sent_ms or last_ms))

    def _lose(self, changes: Changes, lost_ms: int, reason: str) -> None:
        if lost_ms:
            changes.add(Series(catalog.LOST.name, (reason,)), Decimal(lost_ms).scaleb(-3))

    def _reject(self, changes: Changes, rejected: Sequence[RejectedRow], read_ms: int) -> None:
        known = self._look(lambda: self.ledger.known_rejected(row.fingerprint for row in rejected))
        for row in rejected:
            if row.fingerprint not in known and row.fingerprint not in changes.rejected:
                changes.rejected[row.fingerprint] = read_ms
                changes.add(Series(catalog.REJECTED.name, (row.reason,)), 1)


def _hour_of(span: Span) -> int | None:
    """The hour that holds all of `span`, in hours since the epoch; None where it reaches into several."""
    first, last = span.since_ms // HOUR_MS, (span.until_ms - 1) // HOUR_MS
    return first if first == last else None


def _parted(
    records: Sequence[Record], span: Span, to_read: SpanSet
) -> tuple[Sequence[Record], Sequence[Record]]:
    """The records sent in time that is to be read, and the others."""
    if to_read.spans == (span,):
        return records, ()
    first: list[Record] = []
    again: list[Record] = []
    for record in records:
        (first if record.sent_ms in to_read else again).append(record)
    return first, again
