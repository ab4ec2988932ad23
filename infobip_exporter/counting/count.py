"""What a page means: which messages are new, which have settled, and what that adds to the totals."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.caps import Caps
from infobip_exporter.counting.durations import histogram, is_possible
from infobip_exporter.counting.known import (
    SETTLED,
    STATUS_MASK,
    WITHOUT_PRICE,
    InFlight,
    Known,
    Labels,
    is_in,
    places_in,
    scattered,
)
from infobip_exporter.counting.moved import has_id, near
from infobip_exporter.counting.rows import Rows
from infobip_exporter.counting.statuses import Statuses
from infobip_exporter.counting.tally import Tally, in_flight_series
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.metrics import catalog
from infobip_exporter.model.labels import OTHER
from infobip_exporter.model.record import DELIVERED, NO_TIME_MS, Kind, Record
from infobip_exporter.model.series import Series
from infobip_exporter.model.time_range import HOUR_MS, TimeRange


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(slots=True)
class Counted:
    """What a page came to. Times in milliseconds.

    `known` are the messages known afterwards. `new_ms` are the sent times of those that are new. Of those that have
    settled `settled` is the number, `failed` are the places of the records of those that were not delivered, and where
    the time is known and possible `done_ms` and `durations_ms` say when and how long after sending.
    `touched_ms` are the sent times at which what is known differs from before. `moved` are messages whose sent time has
    moved, from where to where; `postponed` are ranges that hold a message which has either moved or is another with the
    same id: to be read whole before it can be counted.
    """

    known: Known
    new_ms: NDArray[np.int64] = field(default_factory=_none)
    settled: int = 0
    failed: NDArray[np.int64] = field(default_factory=_none)
    done_ms: NDArray[np.int64] = field(default_factory=_none)
    durations_ms: NDArray[np.int64] = field(default_factory=_none)
    touched_ms: NDArray[np.int64] = field(default_factory=_none)
    moved: list[tuple[int, int]] = field(default_factory=list)
    postponed: list[TimeRange] = field(default_factory=list)


def count(
    rows: Rows,
    known: Known,
    changes: Changes,
    caps: Caps,
    statuses: Statuses,
    *,
    is_open: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    proven: TimeRange | None = None,
    postpones: bool = True,
    readable: Callable[[TimeRange], bool] = lambda _: True,
) -> Counted:
    """Count the messages of `rows` into `changes`.

    `known` are the messages known of the time in which they were sent. `is_open` says whether messages sent at these
    moments may be new; elsewhere only messages in flight matter. `proven` is the range that the page has shown completely.
    Unless it `postpones`, a message is another one where the page can't tell whether it has moved. It is taken for the
    known one where the range that would tell is not `readable`: the API fails for it.
    """
    counting = _Counting(rows, known, changes, caps, statuses, proven, readable, postpones=postpones)
    if rows.records:
        counting.page(is_open)
    return counting.finish()


class _Counting:
    def __init__(
        self,
        rows: Rows,
        known: Known,
        changes: Changes,
        caps: Caps,
        statuses: Statuses,
        proven: TimeRange | None,
        readable: Callable[[TimeRange], bool],
        *,
        postpones: bool,
    ) -> None:
        self._changes = changes
        self._caps = caps
        self._statuses = statuses
        self._proven = proven
        self._readable = readable
        self._postpones = postpones
        self._known = Known(known.settled.copy(), known.in_flight)
        self._counted = Counted(self._known)
        self._rows = rows
        self._records = rows.records
        self._tallies: dict[tuple[int, Labels | None], Tally] = {}
        self._added: list[NDArray[np.void]] = []
        self._touched_ms: list[int] = []

    def page(self, is_open: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> None:
        records = self._records
        waiting = ~self._known_settled()
        if self._known.in_flight:
            in_flight = is_in(np.sort(self._known.keys_in_flight()), self._rows.keys)
            for number in np.flatnonzero(waiting & in_flight).tolist():
                record = records[number]
                message = self._known.in_flight.get((record.message_id, record.sent_ms))
                if message is not None:
                    waiting[number] = False
                    self._in_flight_again(number, message)
        new = np.flatnonzero(waiting)
        elsewhere = has_id(self._known, self._rows.id_hashes[new])
        if elsewhere.any():
            for place in np.flatnonzero(elsewhere).tolist():
                elsewhere[place] = self._is_known_elsewhere(int(new[place]))
            new = new[~elsewhere]
        self._first_seen(new[is_open(records.sent_ms[new])])  # final time has none

    def _known_settled(self) -> NDArray[np.bool_]:
        """Which records are those of messages that had settled before."""
        settled = self._known.settled
        order = np.argsort(settled["key"])
        places = places_in(settled["key"][order], self._rows.keys)
        known = places >= 0
        if known.any():
            flags = np.array([self._flags(kind) if kind.final else -1 for kind in self._records.kinds])
            flags = flags[self._records.of_kind]
            rows = order[places]
            changed = known & (flags >= 0) & (flags != settled["flags"][rows])
            for number in np.flatnonzero(changed).tolist():
                self._settled_again(int(rows[number]), self._records[number])
        return known

    def _is_known_elsewhere(self, number: int) -> bool:
        """Whether the record is that of a message known at another sent time, or can't be told from it yet."""
        record, id_hash = self._records[number], int(self._rows.id_hashes[number])
        for old_ms, place in near(self._known, record, id_hash):
            old_key = np.uint64(id_hash) ^ scattered(np.array([old_ms], np.int64))[0]
            if old_key in self._rows.keys:
                continue  # both are there: the sender has used the id twice
            if self._proven is None or not (
                self._proven.holds(old_ms) and self._proven.holds(record.sent_ms)
            ):
                if self._proven is not None and not self._postpones:
                    continue
                both = TimeRange(min(old_ms, record.sent_ms), max(old_ms, record.sent_ms) + 1)
                if self._proven is not None and self._readable(both):
                    self._counted.postponed.append(both)
                return True
            self._move(number, old_ms, place)
            return True
        return False

    def _move(self, number: int, old_ms: int, place: int | None) -> None:
        """The message is known at `old_ms`, where a whole read lacks it now: it has moved."""
        record = self._records[number]
        self._counted.moved.append((old_ms, record.sent_ms))
        self._touched_ms += (old_ms, record.sent_ms)
        if place is not None:
            settled = self._known.settled
            settled["key"][place], settled["sent_ms"][place] = self._rows.keys[number], record.sent_ms
            self._settled_again(place, record)
            return
        message = self._known.in_flight.pop((record.message_id, old_ms))
        self._known.in_flight[record.message_id, record.sent_ms] = message
        self._in_flight_again(number, message)

    def _first_seen(self, numbers: NDArray[np.intp]) -> None:
        """Count new messages, those of one kind together: nearly all pages are of a few kinds."""
        self._counted.new_ms = np.sort(self._records.sent_ms[numbers])
        kinds, of_kind = self._records.kinds, self._records.of_kind[numbers]
        numbers = numbers[np.argsort(of_kind, kind="stable")]
        ends = np.cumsum(np.bincount(of_kind, minlength=len(kinds))).tolist()
        for kind, first, last in zip(kinds, [0, *ends], ends, strict=False):
            if first == last:
                continue
            tally = self._tally(kind)
            tally.new += last - first
            if kind.final:
                tally.settle(numbers[first:last])
                continue
            self._into_flight(tally, last - first)
            for number in numbers[first:last].tolist():
                record = self._records[number]
                self._known.in_flight[record.message_id, record.sent_ms] = tally.series.in_flight

    def _in_flight_again(self, number: int, before: InFlight) -> None:
        record = self._records[number]
        tally = self._tally(record.kind, before.labels)
        if record.kind.final:
            self._changes.in_flight[in_flight_series(before)] -= 1
            del self._known.in_flight[record.message_id, record.sent_ms]
            self._touched_ms.append(record.sent_ms)
            tally.settle(np.array([number]))
        elif tally.series.general_status != before.general_status:
            self._changes.in_flight[in_flight_series(before)] -= 1
            self._into_flight(tally, 1)
            self._known.in_flight[record.message_id, record.sent_ms] = tally.series.in_flight
            self._touched_ms.append(record.sent_ms)

    def _into_flight(self, tally: Tally, messages: int) -> None:
        self._changes.in_flight[tally.series.in_flight_series] += messages
        if tally.series.general_status == OTHER:
            self._changes.add(Series.of(catalog.OVERFLOW.name, label="general_status"), messages)

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
            self._touched_ms.append(record.sent_ms)

    def _flags(self, kind: Kind) -> int:
        return self._statuses.number(kind.general_status) | (WITHOUT_PRICE if kind.cost is None else 0)

    def _tally(self, kind: Kind, sent_labels: Labels | None = None) -> Tally:
        """The tally of `kind`; with `sent_labels`, for messages that were first seen with these."""
        tally = self._tallies.get((id(kind), sent_labels))
        if tally is None:
            tally = Tally(kind, self._caps.counted_in(kind, sent_labels))
            self._tallies[id(kind), sent_labels] = tally
        return tally

    def finish(self) -> Counted:
        for tally in self._tallies.values():
            tally.add_to(self._changes)
        settled = [tally for tally in self._tallies.values() if tally.settled]
        if settled:
            self._settle(settled)
        if self._added or self._counted.moved:
            rows = np.concatenate([self._known.settled, *self._added])
            self._known.settled = rows[np.argsort(rows["sent_ms"], kind="stable")]
        self._counted.touched_ms = np.sort(
            np.concatenate([self._counted.new_ms, np.array(self._touched_ms, np.int64)])
        )
        return self._counted

    def _settle(self, tallies: Sequence[Tally]) -> None:
        """Keep the messages that have settled, and count them by hour and their durations."""
        counted = self._counted
        alike: dict[Series, list[Tally]] = {}
        for tally in tallies:
            alike.setdefault(tally.series.durations, []).append(tally)
        tallies = list(chain.from_iterable(alike.values()))
        each = [tally.settled for tally in tallies]
        numbers = np.concatenate([some for tally in tallies for some in tally.numbers])
        sent_ms = self._records.sent_ms[numbers]
        added = np.empty(len(numbers), SETTLED)
        added["key"], added["sent_ms"] = self._rows.keys[numbers], sent_ms
        added["flags"] = np.repeat([self._flags(tally.kind) for tally in tallies], each)
        self._added.append(added)
        counted.settled = len(numbers)
        counted.failed = numbers[
            np.repeat([tally.kind.general_status != DELIVERED for tally in tallies], each)
        ]
        done_ms = self._records.done_ms[numbers]
        told = done_ms != NO_TIME_MS
        durations_ms = np.where(told, done_ms - sent_ms, -1)
        sound = is_possible(durations_ms)
        counted.done_ms, counted.durations_ms = done_ms[sound], durations_ms[sound]
        if rejected := int(np.sum(told & ~sound)):
            self._changes.add(Series.of(catalog.DURATIONS_REJECTED.name), rejected)
        hours = sent_ms // HOUR_MS
        last = 0
        for series, some in alike.items():
            first, last = last, last + sum(tally.settled for tally in some)
            for hour, messages in Counter(hours[first:last].tolist()).items():
                self._changes.settled_by_hour[hour, some[0].series.general_status] += messages
            if sound[first:last].any():
                took_ms = durations_ms[first:last][sound[first:last]]
                self._changes.observe(series, histogram(catalog.DELIVERY_DURATION, took_ms))
