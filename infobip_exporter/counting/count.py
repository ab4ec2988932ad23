"""What a page that was read means: which messages are new, which have settled, and what that adds to the totals."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from decimal import Decimal

from infobip_exporter.counting.labels import Caps, Place
from infobip_exporter.ledger.changes import EXACT, Changes, Remembered
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, InFlight, Series
from infobip_exporter.model.record import Kind, Record

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
NEVER_MS = 1 << 62

DURATION_BOUNDS_MS = tuple(round(bound * 1000) for bound in catalog.DELIVERY_DURATION.buckets)


class Counting:
    """Collects into `changes` what the records of one commit mean.

    `known` are the messages remembered by id among them. `open_from_ms` is the sent time from which on the span stays
    open: a settled message in it must be remembered, for it will be read again. `hour` is the hour in which all of them
    were sent, in hours since the epoch, or None where they were sent in several.
    """

    def __init__(
        self,
        changes: Changes,
        known: Mapping[str, Remembered],
        caps: Caps,
        *,
        open_from_ms: int,
        hour: int | None,
    ) -> None:
        self.new = 0
        self.settled = 0
        self._changes = changes
        self._known = dict(known)
        self._caps = caps
        self._open_from_ms = open_from_ms
        self._hour = hour
        self._tallies: dict[int | tuple[int, str, str], _Tally] = {}

    def first_reads(self, records: Iterable[Record]) -> None:
        """Count the records of a span that is being read: a message that is not known is new."""
        known = self._known
        tallies = self._tallies
        open_from_ms = self._open_from_ms
        in_several_hours = self._hour is None
        minutes: dict[int, int] = {}
        once: set[str] = set()
        for record in records:
            message_id, sent_ms, done_ms, kind, _sender = record
            if message_id in known:
                self._known_again(record)
                continue
            if message_id in once:
                continue
            tally = tallies.get(id(kind)) or self._tally(kind)
            tally.new += 1
            minute = sent_ms // MINUTE_MS
            minutes[minute] = minutes.get(minute, 0) + 1
            if tally.final:
                tally.settled += 1
                if in_several_hours:
                    self._settle_in(sent_ms // HOUR_MS, tally, 1)
                if done_ms is not None:
                    tally.durations_ms.append(done_ms - sent_ms)
                if sent_ms < open_from_ms:
                    once.add(message_id)
                else:
                    self._remember(message_id, sent_ms, tally, settled=True)
            else:
                self._changes.in_flight[tally.place.labels] += 1
                self._changes.in_flight_by_minute[minute] += 1
                self._remember(message_id, sent_ms, tally, settled=False)
        self._changes.volume.update(minutes)

    def looks(self, records: Iterable[Record]) -> None:
        """Count the records of a look: only messages in flight matter, whatever else the answer held.

        They were sent in closed time: what settles there need not be remembered.
        """
        self._open_from_ms = NEVER_MS
        for record in records:
            if record.message_id in self._known:
                self._known_again(record)

    def finish(self) -> None:
        """Add what the records came to."""
        durations_ms: dict[str, list[int]] = {}
        for tally in self._tallies.values():
            self.new += tally.new
            self.settled += tally.settled
            tally.add_to(self._changes)
            status = tally.place.labels.general_status
            if tally.settled and self._hour is not None:
                self._settle_in(self._hour, tally, tally.settled)
            if tally.durations_ms:
                durations_ms.setdefault(status, []).extend(tally.durations_ms)
        for status, durations in durations_ms.items():
            self._changes.observe(Series(catalog.DELIVERY_DURATION.name, (status,)), _histogram(durations))

    def _settle_in(self, hour: int, tally: "_Tally", messages: int) -> None:
        self._changes.settled_by_hour[hour, tally.place.labels.general_status] += messages

    def _known_again(self, record: Record) -> None:
        before = self._known[record.message_id]
        tally = self._tally(record.kind, before)
        labels = tally.place.labels
        if before.settled:
            if tally.final:
                self._settled_again(record.message_id, before, labels.general_status)
            return
        was_in = InFlight(before.general_status, before.entity_id, before.application_id)
        if tally.final:
            self._changes.in_flight[was_in] -= 1
            self._changes.in_flight_by_minute[before.sent_ms // MINUTE_MS] -= 1
            self._changes.forget[record.message_id] = before
            self._changes.remember.pop(record.message_id, None)
            tally.settled += 1
            if self._hour is None:
                self._settle_in(before.sent_ms // HOUR_MS, tally, 1)
            if record.done_ms is not None:
                tally.durations_ms.append(record.done_ms - before.sent_ms)
            self._remember(record.message_id, before.sent_ms, tally, settled=True)
        elif labels != was_in:
            self._changes.in_flight[was_in] -= 1
            self._changes.in_flight[labels] += 1
            self._remember(record.message_id, before.sent_ms, tally, settled=False)

    def _settled_again(self, message_id: str, before: Remembered, status: str) -> None:
        if status == before.general_status:
            return
        self._changes.add(Series(catalog.CHANGED_AFTER_FINAL.name, (before.general_status, status)), 1)
        changed = before._replace(general_status=status)
        self._known[message_id] = changed
        if before.sent_ms >= self._open_from_ms:
            self._changes.remember[message_id] = changed

    def _remember(self, message_id: str, sent_ms: int, tally: "_Tally", *, settled: bool) -> None:
        """Know the message from here on; in the ledger too, unless it has settled and won't be read again."""
        remembered = Remembered(sent_ms, *tally.place.labels, settled)
        self._known[message_id] = remembered
        if not settled or sent_ms >= self._open_from_ms:
            self._changes.remember[message_id] = remembered

    def _tally(self, kind: Kind, first_seen_as: Remembered | None = None) -> "_Tally":
        """The tally of `kind`.

        A message that was seen before stays under the entity and application it was first counted under: what it
        leaves must be what it entered.
        """
        key = (id(kind), *first_seen_as[2:4]) if first_seen_as else id(kind)
        tally = self._tallies.get(key)
        if tally is None:
            entity, application = first_seen_as[2:4] if first_seen_as else kind[2:4]
            place = self._caps.place(
                kind.general_status, kind.error_group, entity, application, kind.currency
            )
            tally = self._tallies[key] = _Tally(kind, place)
        return tally


class _Tally:
    """How many messages of one kind there are. Holds the kind itself, so that its id() stays its own."""

    __slots__ = ("durations_ms", "final", "kind", "new", "place", "settled")

    def __init__(self, kind: Kind, place: Place) -> None:
        self.kind = kind
        self.place = place
        self.final = kind.final
        self.new = 0
        self.settled = 0
        self.durations_ms: list[int] = []

    def add_to(self, changes: Changes) -> None:
        place = self.place
        if self.new:
            changes.add(place.sent, self.new)
            for overflow in place.first_overflowed:
                changes.add(overflow, self.new)
        if self.settled:
            changes.add(place.settled, self.settled)
            changes.add(place.parts, self.settled * self.kind.parts)
            if self.kind.currency:
                changes.add(place.cost, EXACT.multiply(self.kind.cost, self.settled))
            for overflow in place.settled_overflowed:
                changes.add(overflow, self.settled)


def _histogram(durations_ms: list[int]) -> Histogram:
    """A message that was done before it was sent, by clocks that differ, took no time."""
    durations_ms = [max(0, duration_ms) for duration_ms in durations_ms]
    counts = [0] * (len(DURATION_BOUNDS_MS) + 1)
    for duration_ms in durations_ms:
        counts[bisect_left(DURATION_BOUNDS_MS, duration_ms)] += 1
    return Histogram(tuple(counts), Decimal(sum(durations_ms)).scaleb(-3))
