"""What a page means: which messages are new, which have settled, and what that adds to the totals."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.caps import Caps, overflowed
from infobip_exporter.counting.known import (
    MOST_STATUSES,
    SETTLED,
    STATUS_MASK,
    WITHOUT_PRICE,
    Identity,
    InFlight,
    Known,
    Labels,
    id_hashes,
    scattered,
    together,
)
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Family, labels_of, series_of
from infobip_exporter.model.labels import LABELS, OTHER
from infobip_exporter.model.record import DELIVERED, Kind, Record
from infobip_exporter.model.series import EXACT, Histogram, Series
from infobip_exporter.model.time_range import HOUR_MS, TimeRange

MOVED_MS = 10_000
"""A sent time that moves by less between two reads is the same message's (DESIGN: provisional time)."""
LONGEST_DURATION_MS = 49 * HOUR_MS
"""The log shows a message for 48 h: one that took longer to settle can't be in it."""


class Statuses:
    """Numbers for general statuses, for what is kept of settled messages. Numbers never change their meaning."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number(self, name: str) -> int:
        if name not in self._numbers:
            if len(self.names) >= MOST_STATUSES:
                name = OTHER
            self._numbers[name] = self._numbers.get(name, len(self.names))
            if self._numbers[name] == len(self.names):
                self.names.append(name)
        return self._numbers[name]

    def kept(self, name: str) -> str:
        """The name under which a status is kept: `__other__` where the numbers have run out."""
        return self.names[self.number(name)]

    def name(self, flags: int) -> str:
        return self.names[flags & STATUS_MASK]


@dataclass(slots=True)
class Counted:
    """What a page came to. Sent times in milliseconds.

    `known` are the messages known afterwards. `touched_ms` are the sent times at which that differs from before.
    `moved` are messages whose sent time has moved, from where to where; `postponed` are ranges that hold a message
    which has either moved or is another with the same id: to be read whole before it can be counted.
    """

    known: Known
    new_ms: list[int] = field(default_factory=list)
    settled_ms: list[int] = field(default_factory=list)
    done_ms: list[int] = field(default_factory=list)
    durations_ms: list[int] = field(default_factory=list)
    touched_ms: list[int] = field(default_factory=list)
    moved: list[tuple[int, int]] = field(default_factory=list)
    postponed: list[TimeRange] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)


def count(
    records: Sequence[Record],
    known: Known,
    changes: Changes,
    caps: Caps,
    statuses: Statuses,
    *,
    is_open: Callable[[int], bool],
    proven: TimeRange | None = None,
    postpones: bool = True,
) -> Counted:
    """Count `records`, each message once, into `changes`.

    `known` are the messages known of the time in which they were sent. `is_open` says whether a message sent at a moment
    may be new; elsewhere only messages in flight matter. `proven` is the range that the page has shown completely.
    Unless it `postpones`, a message is another one where the page can't tell whether it has moved.
    """
    counting = _Counting(known, changes, caps, statuses, proven, postpones=postpones)
    records = each_once(records)
    if records:
        counting.page(records, is_open)
    return counting.finish()


def each_once(records: Sequence[Record]) -> list[Record]:
    """The records, of several for one message the one with a final status."""
    best: dict[Identity, Record] = {}
    if len({(record.message_id, record.sent_ms) for record in records}) == len(records):
        return list(records)
    for record in records:
        who = (record.message_id, record.sent_ms)
        if who not in best or (record.kind.final and not best[who].kind.final):
            best[who] = record
    return list(best.values())


class _Counting:
    def __init__(
        self,
        known: Known,
        changes: Changes,
        caps: Caps,
        statuses: Statuses,
        proven: TimeRange | None,
        *,
        postpones: bool,
    ) -> None:
        self._changes = changes
        self._caps = caps
        self._statuses = statuses
        self._proven = proven
        self._postpones = postpones
        self._known = Known(known.settled.copy(), known.in_flight)
        self._counted = Counted(self._known)
        self._tallies: dict[tuple[int, Labels | None], _Tally] = {}
        self._added: list[NDArray[np.void]] = []
        self._gone = np.zeros(len(known.settled), np.bool_)

    def page(self, records: list[Record], is_open: Callable[[int], bool]) -> None:
        sent_ms = np.fromiter((record.sent_ms for record in records), np.int64, len(records))
        hashes = id_hashes([record.message_id for record in records])
        page_keys = hashes ^ scattered(sent_ms)
        settled = self._known.settled
        order = np.argsort(settled["key"])
        places = _places(settled["key"][order], page_keys).tolist()
        elsewhere = self._elsewhere(hashes).tolist()
        in_flight = self._known.in_flight
        new: list[int] = []
        for number, record in enumerate(records):
            place = places[number]
            if place >= 0:
                self._settled_again(int(order[place]), record)
                continue
            message = in_flight.get((record.message_id, record.sent_ms)) if in_flight else None
            if message is not None:
                self._in_flight_again(record, record.sent_ms, message, int(page_keys[number]))
            elif is_open(record.sent_ms):
                if elsewhere[number] and self._is_known_elsewhere(record, int(hashes[number]), page_keys):
                    continue
                new.append(number)
        self._first_seen([records[number] for number in new], sent_ms[new], page_keys[new])

    def _elsewhere(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether a message with this id is known, at whatever sent time."""
        settled = self._known.settled
        known = [settled["key"] ^ scattered(settled["sent_ms"])]
        if self._known.in_flight:
            known.append(id_hashes([message_id for message_id, _ in self._known.in_flight]))
        return np.isin(hashes, np.concatenate(known))

    def _is_known_elsewhere(self, record: Record, id_hash: int, page_keys: NDArray[np.uint64]) -> bool:
        """Whether the record is that of a message known at another sent time, or can't be told from it yet."""
        for old_ms, place in self._near(record, id_hash):
            old_key = np.uint64(id_hash) ^ scattered(np.array([old_ms], np.int64))[0]
            if old_key in page_keys:
                continue  # both are there: the sender has used the id twice
            if self._proven is None or not (
                self._proven.holds(old_ms) and self._proven.holds(record.sent_ms)
            ):
                if self._proven is not None and not self._postpones:
                    continue
                both = TimeRange(min(old_ms, record.sent_ms), max(old_ms, record.sent_ms) + 1)
                if self._proven is not None:
                    self._counted.postponed.append(both)
                return True
            self._move(record, old_ms, place, id_hash)
            return True
        return False

    def _near(self, record: Record, id_hash: int) -> list[tuple[int, int | None]]:
        """Where the same id is known less than `MOVED_MS` away: sent time, and place among the settled."""
        settled = self._known.settled
        near = np.abs(settled["sent_ms"] - record.sent_ms) < MOVED_MS
        same = near & ((settled["key"] ^ scattered(settled["sent_ms"])) == np.uint64(id_hash)) & ~self._gone
        found: list[tuple[int, int | None]] = [
            (int(settled["sent_ms"][place]), int(place)) for place in np.flatnonzero(same)
        ]
        found += [
            (sent_ms, None)
            for message_id, sent_ms in self._known.in_flight
            if message_id == record.message_id and abs(sent_ms - record.sent_ms) < MOVED_MS
        ]
        return sorted(found, key=lambda each: abs(each[0] - record.sent_ms))

    def _move(self, record: Record, old_ms: int, place: int | None, id_hash: int) -> None:
        """The message is known at `old_ms`, where a whole read lacks it now: it has moved."""
        self._counted.moved.append((old_ms, record.sent_ms))
        self._counted.touched_ms += (old_ms, record.sent_ms)
        key = np.uint64(id_hash) ^ scattered(np.array([record.sent_ms], np.int64))[0]
        if place is not None:
            flags = int(self._known.settled["flags"][place])
            self._gone[place] = True
            self._added.append(np.array([(key, record.sent_ms, flags)], SETTLED))
            return
        message = self._known.in_flight.pop((record.message_id, old_ms))
        self._known.in_flight[record.message_id, record.sent_ms] = message
        self._in_flight_again(record, record.sent_ms, message, int(key))

    def _first_seen(
        self, records: Sequence[Record], sent_ms: NDArray[np.int64], message_keys: NDArray[np.uint64]
    ) -> None:
        """Count new messages, those of one kind together: nearly all pages are of a few kinds."""
        moments: list[int] = sent_ms.tolist()
        self._counted.new_ms += moments
        self._counted.touched_ms += moments
        numbers: dict[int, list[int]] = {}
        for number, record in enumerate(records):
            numbers.setdefault(id(record.kind), []).append(number)
        for of_kind in numbers.values():
            same = [records[number] for number in of_kind]
            tally = self._tally(same[0].kind)
            tally.new += len(same)
            if not tally.final:
                self._into_flight(tally, len(same))
                for record in same:
                    self._known.in_flight[record.message_id, record.sent_ms] = tally.in_flight
                continue
            added = np.empty(len(same), SETTLED)
            added["key"], added["sent_ms"] = message_keys[of_kind], sent_ms[of_kind]
            self._settle(same, tally, added)

    def _in_flight_again(self, record: Record, sent_ms: int, before: InFlight, key: int) -> None:
        tally = self._tally(record.kind, before.labels)
        if tally.final:
            self._changes.in_flight[in_flight_series(before)] -= 1
            del self._known.in_flight[record.message_id, sent_ms]
            self._counted.touched_ms.append(sent_ms)
            self._settle([record], tally, np.array([(key, sent_ms, 0)], SETTLED))
        elif tally.in_flight.general_status != before.general_status:
            self._changes.in_flight[in_flight_series(before)] -= 1
            self._into_flight(tally, 1)
            self._known.in_flight[record.message_id, sent_ms] = tally.in_flight
            self._counted.touched_ms.append(sent_ms)

    def _into_flight(self, tally: "_Tally", messages: int) -> None:
        self._changes.in_flight[tally.in_flight_series] += messages
        if tally.in_flight.general_status == OTHER:
            self._changes.add(Series.of(catalog.OVERFLOW.name, label="general_status"), messages)

    def _settle(self, records: Sequence[Record], tally: "_Tally", added: NDArray[np.void]) -> None:
        """Count messages of one kind as settled; `added` are their keys and sent times."""
        counted = self._counted
        added["flags"] = self._flags(tally.kind)
        self._added.append(added)
        moments: list[int] = added["sent_ms"].tolist()
        tally.settled_ms += moments
        counted.settled_ms += moments
        if tally.kind.general_status != DELIVERED:
            counted.failed += records
        done = [(each.done_ms, each.done_ms - each.sent_ms) for each in records if each.done_ms is not None]
        sound = [each for each in done if 0 <= each[1] <= LONGEST_DURATION_MS]
        counted.done_ms += [done_ms for done_ms, _ in sound]
        durations_ms = [duration_ms for _, duration_ms in sound]
        counted.durations_ms += durations_ms
        tally.durations_ms += durations_ms
        if len(sound) < len(done):
            self._changes.add(Series.of(catalog.DURATIONS_REJECTED.name), len(done) - len(sound))

    def _settled_again(self, place: int, record: Record) -> None:
        """A message that had settled before: its status may have changed, its price may be there now."""
        flags = int(self._known.settled["flags"][place])
        now = self._flags(record.kind)
        if not record.kind.final or now == flags:
            return
        before, after = self._statuses.name(flags), self._statuses.name(now)
        if before != after:
            pair = {
                "from": self._caps.admit("general_status", before),
                "to": self._caps.admit("general_status", after),
            }
            self._changes.add(Series.of(catalog.CHANGED_AFTER_FINAL.name, **pair), 1)
        if flags & WITHOUT_PRICE and not now & WITHOUT_PRICE:
            self._tally(record.kind).add_cost(self._changes, 1)
        elif now & WITHOUT_PRICE and not flags & WITHOUT_PRICE:
            now &= STATUS_MASK  # counted already, whatever the row has lost
        if now != flags:
            self._known.settled["flags"][place] = now
            self._counted.touched_ms.append(record.sent_ms)

    def _flags(self, kind: Kind) -> int:
        return self._statuses.number(kind.general_status) | (WITHOUT_PRICE if kind.cost is None else 0)

    def _tally(self, kind: Kind, sent_labels: Labels | None = None) -> "_Tally":
        """The tally of `kind`; with `sent_labels`, for messages that were first seen with these."""
        tally = self._tallies.get((id(kind), sent_labels))
        if tally is None:
            tally = self._tallies[id(kind), sent_labels] = _Tally(kind, self._caps, sent_labels)
        return tally

    def finish(self) -> Counted:
        durations_ms: dict[Series, list[int]] = {}
        for tally in self._tallies.values():
            tally.add_to(self._changes)
            if tally.durations_ms:
                durations_ms.setdefault(tally.durations_series, []).extend(tally.durations_ms)
        for series, durations in durations_ms.items():
            self._changes.observe(series, histogram(catalog.DELIVERY_DURATION, durations))
        if self._added or self._gone.any():
            settled = together([self._known.settled[~self._gone], *self._added])
            self._known.settled = settled[np.argsort(settled["sent_ms"], kind="stable")]
        return self._counted


class _Tally:
    """How many messages of one kind there are. Holds the kind itself, so that its id() stays its own.

    `sent_labels` are those that the messages were first counted under, None for new ones. They settle under these,
    whatever is chosen now.
    """

    __slots__ = (
        "_caps",
        "_labels",
        "durations_ms",
        "durations_series",
        "final",
        "in_flight",
        "in_flight_series",
        "kind",
        "new",
        "settled_ms",
    )

    def __init__(self, kind: Kind, caps: Caps, sent_labels: Labels | None) -> None:
        labels = caps.labels_of(kind)
        if sent_labels is None:
            sent_labels = tuple((name, labels[name]) for name in LABELS if name in caps.choice.sent)
            sent_labels = tuple(each for each in sent_labels if each[1])
        self.kind = kind
        self.final = kind.final
        self._caps = caps
        self._labels = {name: value for name, value in labels.items() if not LABELS[name].sent} | dict(
            sent_labels
        )
        self.in_flight = InFlight(labels["general_status"], sent_labels)
        self.in_flight_series = in_flight_series(self.in_flight)
        durations = {**labels, **self._labels}
        names = labels_of(catalog.DELIVERY_DURATION, caps.choice)
        self.durations_series = series_of(
            catalog.DELIVERY_DURATION, {name: durations[name] for name in names}
        )
        self.new = 0
        self.settled_ms: list[int] = []
        self.durations_ms: list[int] = []

    def add_to(self, changes: Changes) -> None:
        if self.new:
            changes.add(self._series(catalog.SENT), self.new)
            for series in overflowed(self._labels, sent=True):
                changes.add(series, self.new)
        settled = len(self.settled_ms)
        if settled:
            hours = Counter([sent_ms // HOUR_MS for sent_ms in self.settled_ms])
            for hour, messages in hours.items():
                changes.settled_by_hour[hour, self._labels["general_status"]] += messages
            changes.add(self._series(catalog.MESSAGES), settled)
            changes.add(self._series(catalog.PARTS), settled * self.kind.parts)
            self.add_cost(changes, settled)
            if self.kind.general_status != DELIVERED:
                changes.add(self._series(catalog.FAILURES), settled)
            only_durations = dict(
                each for each in self.durations_series.labels if each[0] not in self._labels
            )
            for series in overflowed(self._labels, sent=False) + overflowed(only_durations, sent=True):
                changes.add(series, settled)

    def add_cost(self, changes: Changes, messages: int) -> None:
        cost = self.kind.cost
        if cost is not None and (cost or self.kind.currency):
            changes.add(self._series(catalog.COST), EXACT.multiply(cost, messages))

    def _series(self, family: Family) -> Series:
        names = {*labels_of(family, self._caps.choice)}
        if family.chosen in ("sent", "settled"):
            names.update(name for name, _ in self.in_flight.labels)
        return series_of(family, {name: value for name, value in self._labels.items() if name in names})


def in_flight_series(message: InFlight) -> Series:
    return series_of(catalog.IN_FLIGHT, {"general_status": message.general_status, **dict(message.labels)})


def unresolved_series(message: InFlight) -> Series:
    return Series(catalog.UNRESOLVED.name, in_flight_series(message).labels)


def histogram(family: Family, durations_ms: Sequence[int]) -> Histogram:
    """The observations in the buckets of `family`."""
    bounds_ms = [round(bound_s * 1000) for bound_s in family.buckets]
    places = np.searchsorted(bounds_ms, np.array(durations_ms, np.int64), side="left")
    counts = tuple(np.bincount(places, minlength=len(bounds_ms) + 1).tolist())
    return Histogram(counts, Decimal(sum(durations_ms)).scaleb(-3))


def _places(ordered: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where in `ordered` each of `wanted` stands; -1 where it does not."""
    if not len(ordered):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[places] == wanted, places, -1)
