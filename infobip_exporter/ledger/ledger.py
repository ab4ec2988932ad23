"""The ledger of one feed: the totals in memory as they were committed, and the commit that changes them."""

import json
import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger import progress as progress_
from infobip_exporter.ledger.changes import Changes, Remembered, add, merge
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.snapshot import Histogram, InFlight, Series
from infobip_exporter.metrics.zero_start import Mark
from infobip_exporter.reading.spans import Span

MINUTE_MS = 60_000
HOUR_MS = 3_600_000

K = TypeVar("K")

_OLDEST_IN_FLIGHT = "SELECT min(sent_ms) FROM message WHERE feed_id = ? AND settled = 0"


class Ledger:
    """A feed's durable state. The attributes hold what the last commit left; only `commit` changes them.

    They are replaced, never changed in place: a reader in another thread may keep what it took.
    """

    def __init__(self, store: Store, account: str, channel: str) -> None:
        self.store = store
        self.account = account
        self.channel = channel
        with _sound(store):
            self.feed_id, self.progress = self._find_or_create()
            self.counters: Mapping[Series, int | Decimal] = self._load_counters()
            self.histograms: Mapping[Series, Histogram] = self._load_histograms()
            self.in_flight: Mapping[InFlight, int] = self._load_in_flight()
            self.in_flight_by_minute: Mapping[int, int] = dict(
                self._rows(
                    "SELECT sent_ms / 60000, count(*) FROM message WHERE feed_id = ? AND settled = 0 GROUP BY 1"
                )
            )
            self._minutes_in_flight = sorted(self.in_flight_by_minute)
            self.oldest_in_flight_ms: int | None = self._rows(_OLDEST_IN_FLIGHT)[0][0]
            self.volume: Mapping[int, int] = dict(
                self._rows("SELECT minute, messages FROM volume WHERE feed_id = ?")
            )
            self.settled_by_hour: Mapping[tuple[int, str], int] = {
                (hour, status): messages
                for hour, status, messages in self._rows(
                    "SELECT hour, general_status, messages FROM settled_by_hour WHERE feed_id = ?"
                )
            }

    # Asking what is remembered

    def remembered(self, span: Span) -> dict[str, Remembered]:
        """The messages known by id that were sent in `span`, in flight or settled."""
        rows = self._rows(
            "SELECT message_id, sent_ms, general_status, entity_id, application_id, settled FROM message"
            " WHERE feed_id = ? AND settled IN (0, 1) AND sent_ms >= ? AND sent_ms < ?",
            span.since_ms,
            span.until_ms,
        )
        return {row[0]: Remembered(row[1], row[2], row[3], row[4], bool(row[5])) for row in rows}

    def in_flight_between(self, span: Span, most: int) -> list[tuple[str, Remembered]]:
        """Messages in flight that were sent in `span`, oldest first, `most` at the most."""
        minutes = self._minutes_in_flight
        first = bisect_left(minutes, span.since_ms // MINUTE_MS)
        if first == len(minutes) or minutes[first] * MINUTE_MS >= span.until_ms:
            return []  # most spans that are asked for have none: the planner goes through all ages at every step
        rows = self._rows(
            "SELECT message_id, sent_ms, general_status, entity_id, application_id FROM message"
            " WHERE feed_id = ? AND settled = 0 AND sent_ms >= ? AND sent_ms < ?"
            " ORDER BY sent_ms, message_id LIMIT ?",
            span.since_ms,
            span.until_ms,
            most,
        )
        return [(row[0], Remembered(row[1], row[2], row[3], row[4], False)) for row in rows]

    def known_rejected(self, fingerprints: Iterable[bytes]) -> set[bytes]:
        """Which of these bad rows have been counted already."""
        known = set()
        for fingerprint in fingerprints:
            if self._rows("SELECT 1 FROM rejected WHERE feed_id = ? AND fingerprint = ?", fingerprint):
                known.add(fingerprint)
        return known

    def marks(self) -> dict[Series, Mark]:
        """What was saved for ZeroStart."""
        rows = self._rows("SELECT family, labels, shown_ms, released FROM mark WHERE feed_id = ?")
        return {
            Series(family, tuple(json.loads(labels))): Mark(shown_ms, bool(released))
            for family, labels, shown_ms, released in rows
        }

    # Changing it

    def commit(self, changes: Changes) -> None:
        """Do all of `changes` or, on a LedgerError, nothing."""
        counters = {series: add(self.counters.get(series, 0), by) for series, by in changes.counters.items()}
        histograms = {
            series: merge(self.histograms[series], by) if series in self.histograms else by
            for series, by in changes.histograms.items()
        }
        volume = _added(self.volume, changes.volume)
        by_hour = _added(self.settled_by_hour, changes.settled_by_hour)
        feed_id = self.feed_id
        with self.store.transaction() as cursor:

            def run(statement: str, rows: list[tuple[object, ...]]) -> None:
                if rows:
                    cursor.executemany(statement, rows)

            run(
                "INSERT INTO counter VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                [
                    (
                        feed_id,
                        series.family,
                        _text(series.labels),
                        value if isinstance(value, int) else str(value),
                    )
                    for series, value in counters.items()
                ],
            )
            run(
                "INSERT INTO histogram VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET counts = excluded.counts, sum_s = excluded.sum_s",
                [
                    (feed_id, series.family, _text(series.labels), json.dumps(value.counts), str(value.sum_s))
                    for series, value in histograms.items()
                ],
            )
            run(
                "DELETE FROM message WHERE feed_id = ? AND settled = 0 AND sent_ms = ? AND message_id = ?",
                [(feed_id, known.sent_ms, message_id) for message_id, known in changes.forget.items()],
            )
            run(
                "INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (feed_id, int(new.settled), new.sent_ms, message_id, *new[1:4])
                    for message_id, new in changes.remember.items()
                ],
            )
            run(
                "DELETE FROM message WHERE feed_id = ? AND settled = 1 AND sent_ms >= ? AND sent_ms < ?",
                [(feed_id, *span) for span in changes.forget_settled],
            )
            run(
                "INSERT INTO volume VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET messages = excluded.messages",
                [(feed_id, minute, volume[minute]) for minute in changes.volume],
            )
            run(
                "INSERT INTO settled_by_hour VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET messages = excluded.messages",
                [(feed_id, *key, by_hour[key]) for key in changes.settled_by_hour],
            )
            run(
                "INSERT OR IGNORE INTO rejected VALUES (?, ?, ?)",
                [(feed_id, fingerprint, read_ms) for fingerprint, read_ms in changes.rejected.items()],
            )
            if changes.progress is not None:
                cursor.execute(
                    "UPDATE feed SET progress = ? WHERE id = ?", (progress_.encode(changes.progress), feed_id)
                )
            if changes.prune_before_ms is not None:
                self._prune(cursor, changes.prune_before_ms)
            oldest_in_flight_ms = cursor.execute(_OLDEST_IN_FLIGHT, (feed_id,)).fetchone()[0]
        # Committed. Nothing below may fail: the same changes would be committed again.
        self.counters = {**self.counters, **counters}
        self.histograms = {**self.histograms, **histograms}
        self.in_flight = {key: n for key, n in _added(self.in_flight, changes.in_flight).items() if n}
        if changes.in_flight_by_minute:
            by_minute = _added(self.in_flight_by_minute, changes.in_flight_by_minute)
            self.in_flight_by_minute = {minute: n for minute, n in by_minute.items() if n}
            self._minutes_in_flight = sorted(self.in_flight_by_minute)
        self.oldest_in_flight_ms = oldest_in_flight_ms
        self.volume = volume
        self.settled_by_hour = by_hour
        if changes.progress is not None:
            self.progress = changes.progress
        if changes.prune_before_ms is not None:
            self.volume = {m: n for m, n in volume.items() if m >= changes.prune_before_ms // MINUTE_MS}
            self.settled_by_hour = {
                k: n for k, n in by_hour.items() if k[0] >= changes.prune_before_ms // HOUR_MS
            }

    def save_marks(self, marks: Mapping[Series, Mark]) -> None:
        """Make durable what ZeroStart has to remember."""
        with self.store.transaction() as cursor:
            cursor.executemany(
                "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?, ?)",
                [(self.feed_id, s.family, _text(s.labels), *mark) for s, mark in marks.items()],
            )

    def _prune(self, cursor: sqlite3.Cursor, before_ms: int) -> None:
        for statement, before in (
            ("DELETE FROM volume WHERE feed_id = ? AND minute < ?", before_ms // MINUTE_MS),
            ("DELETE FROM settled_by_hour WHERE feed_id = ? AND hour < ?", before_ms // HOUR_MS),
            ("DELETE FROM rejected WHERE feed_id = ? AND read_ms < ?", before_ms),
            ("DELETE FROM message WHERE feed_id = ? AND settled = 1 AND sent_ms < ?", before_ms),
        ):
            cursor.execute(statement, (self.feed_id, before))

    # Loading it

    def _rows(self, query: str, *parameters: object) -> list[Any]:
        with self.store.reading() as cursor:
            return cursor.execute(query, (self.feed_id, *parameters)).fetchall()

    def _find_or_create(self) -> tuple[int, Progress]:
        with self.store.transaction() as cursor:
            cursor.execute(
                "INSERT OR IGNORE INTO feed (account, channel, progress) VALUES (?, ?, ?)",
                (self.account, self.channel, progress_.encode(Progress())),
            )
            feed_id, progress = cursor.execute(
                "SELECT id, progress FROM feed WHERE account = ? AND channel = ?",
                (self.account, self.channel),
            ).fetchone()
        return feed_id, progress_.decode(progress)

    def _load_counters(self) -> dict[Series, int | Decimal]:
        rows = self._rows("SELECT family, labels, value FROM counter WHERE feed_id = ?")
        return {
            Series(family, tuple(json.loads(labels))): value if isinstance(value, int) else Decimal(value)
            for family, labels, value in rows
        }

    def _load_histograms(self) -> dict[Series, Histogram]:
        rows = self._rows("SELECT family, labels, counts, sum_s FROM histogram WHERE feed_id = ?")
        return {
            Series(family, tuple(json.loads(labels))): Histogram(tuple(json.loads(counts)), Decimal(sum_s))
            for family, labels, counts, sum_s in rows
        }

    def _load_in_flight(self) -> dict[InFlight, int]:
        rows = self._rows(
            "SELECT general_status, entity_id, application_id, count(*) FROM message"
            " WHERE feed_id = ? AND settled = 0 GROUP BY 1, 2, 3"
        )
        return {InFlight(*row[:3]): row[3] for row in rows}


@contextmanager
def _sound(store: Store) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, ArithmeticError) as error:
        raise LedgerError(
            f"state {store.where}: holds a value that no exporter wrote ({error}): ask state check, and put a backup"
            " in its place"
        ) from error


def _added(old: Mapping[K, int], by: Counter[K]) -> dict[K, int]:
    new = dict(old)
    for key, amount in by.items():
        new[key] = new.get(key, 0) + amount
    return new


@lru_cache(maxsize=100_000)
def _text(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
