"""What a page that was read means: which messages are new, which have settled, and what that adds to the totals."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from decimal import Decimal

from infobip_exporter.counting.labels import OTHER, Caps
from infobip_exporter.exposition import catalog
from infobip_exporter.exposition.snapshot import Histogram, InFlight, Series
from infobip_exporter.ledger.changes import EXACT, Changes, Remembered
from infobip_exporter.record import Kind, Record

MINUTE_MS = 60_000
HOUR_MS = 3_600_000

DURATION_BOUNDS_MS = tuple(round(bound * 1000) for bound in catalog.DELIVERY_DURATION.buckets)


class Counting:
    """Collects into `changes` what the records of one commit mean.

    `known` are the messages remembered by id among them. `open_from_ms` is the sent time from which on the span stays
    open: a settled message in it must be remembered, for it will be read again. `hour` is the hour of settling, in
    hours since the epoch.
    """

    def __init__(
        self, changes: Changes, known: Mapping[str, Remembered], caps: Caps, *, open_from_ms: int, hour: int
    ) -> None:
        self._changes = changes
        self._known = dict(known)
        self._caps = caps
        self._open_from_ms = open_from_ms
        self._hour = hour
        self._kinds: dict[int | tuple[int, str, str], _Kind] = {}
        self.new = 0
        self.settled = 0

    def first_reads(self, records: Iterable[Record]) -> None:
        """Count the records of a span that is being read: a message that is not known is new."""
        known = self._known
        kinds = self._kinds
        open_from_ms = self._open_from_ms
        minutes: dict[int, int] = {}
        once: set[str] = set()
        for record in records:
            message_id, sent_ms, done_ms, kind, _sender = record
            if message_id in known:
                self._known_again(record)
                continue
            if message_id in once:
                continue
            counted = kinds.get(id(kind)) or self._kind(kind)
            counted.new += 1
            minute = sent_ms // MINUTE_MS
            minutes[minute] = minutes.get(minute, 0) + 1
            if not counted.final:
                self._remember(message_id, sent_ms, counted, settled=False)
                self._changes.in_flight[counted.labels] += 1
            else:
                counted.settled += 1
                if done_ms is not None:
                    counted.observe(done_ms - sent_ms)
                if sent_ms >= open_from_ms:
                    self._remember(message_id, sent_ms, counted, settled=True)
                else:
                    once.add(message_id)
        self._changes.volume.update(minutes)

    def looks(self, records: Iterable[Record]) -> None:
        """Count the records of a look: only messages in flight matter, whatever else the answer held."""
        for record in records:
            if record.message_id in self._known:
                self._known_again(record)

    def finish(self) -> None:
        """Add what the records came to, kind by kind."""
        for counted in self._kinds.values():
            self.new += counted.new
            self.settled += counted.settled
            counted.add_to(self._changes)
            if counted.settled:
                self._changes.settled_by_hour[self._hour, counted.labels.general_status] += counted.settled
            for label in counted.overflowed:
                seen = counted.new if label in ("entity_id", "application_id") else counted.settled
                self._changes.add(Series(catalog.OVERFLOW.name, (label,)), seen)

    def _known_again(self, record: Record) -> None:
        before = self._known[record.message_id]
        counted = self._kind(record.kind, before)
        if before.settled:
            self._settled_again(record.message_id, before, counted.labels.general_status)
            return
        was_in = InFlight(before.general_status, before.entity_id, before.application_id)
        if counted.final:
            self._changes.in_flight[was_in] -= 1
            self._changes.forget[record.message_id] = before
            self._changes.remember.pop(record.message_id, None)
            counted.settled += 1
            if record.done_ms is not None:
                counted.observe(record.done_ms - before.sent_ms)
            self._remember(record.message_id, before.sent_ms, counted, settled=True)
        elif counted.labels != was_in:
            self._changes.in_flight[was_in] -= 1
            self._changes.in_flight[counted.labels] += 1
            self._remember(record.message_id, before.sent_ms, counted, settled=False)

    def _settled_again(self, message_id: str, before: Remembered, status: str) -> None:
        if status == before.general_status:
            return
        series = Series(catalog.CHANGED_AFTER_FINAL.name, (before.general_status, status))
        self._changes.add(series, 1)
        changed = before._replace(general_status=status)
        self._known[message_id] = changed
        if before.sent_ms >= self._open_from_ms:
            self._changes.remember[message_id] = changed

    def _remember(self, message_id: str, sent_ms: int, counted: "_Kind", *, settled: bool) -> None:
        """Know the message from here on; in the ledger too, unless it has settled and won't be read again."""
        remembered = Remembered(sent_ms, *counted.labels, settled)
        self._known[message_id] = remembered
        if not settled or sent_ms >= self._open_from_ms:
            self._changes.remember[message_id] = remembered

    def _kind(self, kind: Kind, first_seen_as: Remembered | None = None) -> "_Kind":
        """The labels and sums of `kind`.

        A message that was seen before stays under the entity and application it was first counted under: what it
        leaves must be what it entered.
        """
        key = (id(kind), *first_seen_as[2:4]) if first_seen_as else id(kind)
        counted = self._kinds.get(key)
        if counted is None:
            counted = self._kinds[key] = _Kind(kind, first_seen_as, self._caps)
        return counted


class _Kind:
    """The messages of one kind on the way into the totals. Holds the kind itself, so that its id() stays its own."""

    __slots__ = ("counts", "currency", "error_group", "final", "kind", "labels", "new", "observed", "overflowed",
                 "settled", "sum_ms")  # fmt: skip

    def __init__(self, kind: Kind, first_seen_as: Remembered | None, caps: Caps) -> None:
        self.kind = kind
        self.final = kind.final
        self.overflowed: list[str] = []

        def shown(label: str, value: str) -> str:
            admitted = caps.admit(label, value)
            if admitted == OTHER:
                self.overflowed.append(label)
            return admitted

        if first_seen_as is None:
            entity, application = (
                shown("entity_id", kind.entity_id),
                shown("application_id", kind.application_id),
            )
        else:
            entity, application = first_seen_as.entity_id, first_seen_as.application_id
        self.labels = InFlight(shown("general_status", kind.general_status), entity, application)
        self.error_group = shown("error_group", kind.error_group)
        self.currency = shown("currency", kind.currency)
        self.new = 0
        self.settled = 0
        self.counts = [0] * (len(DURATION_BOUNDS_MS) + 1)
        self.sum_ms = 0
        self.observed = False

    def observe(self, duration_ms: int) -> None:
        duration_ms = max(0, duration_ms)
        self.counts[bisect_left(DURATION_BOUNDS_MS, duration_ms)] += 1
        self.sum_ms += duration_ms
        self.observed = True

    def add_to(self, changes: Changes) -> None:
        status, entity, application = self.labels
        if self.new:
            changes.add(Series(catalog.SENT.name, (entity, application)), self.new)
        if not self.settled:
            return
        changes.add(
            Series(catalog.MESSAGES.name, (status, self.error_group, entity, application)), self.settled
        )
        changes.add(Series(catalog.PARTS.name, (status, entity, application)), self.settled * self.kind.parts)
        if self.currency:
            changes.add(
                Series(catalog.COST.name, (self.currency, status, entity, application)),
                EXACT.multiply(self.kind.cost, Decimal(self.settled)),
            )
        if self.observed:
            changes.observe(
                Series(catalog.DELIVERY_DURATION.name, (status,)),
                Histogram(tuple(self.counts), Decimal(self.sum_ms).scaleb(-3)),
            )
