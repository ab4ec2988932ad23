"""What a feed says of rows that can't be counted, of values beyond the cap, and of messages no longer in flight."""

import asyncio
import sqlite3
from random import Random
from typing import Any, cast

import structlog
from structlog.testing import CapturingLogger

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.feed.feed import Feed
from infobip_exporter.feed.settings import Settings
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.model.record import Answer, Kind, Page, Record, Records, RejectedRow
from infobip_exporter.model.series import Series
from tests.feed.test_supervisor import BEGINS_S, FakeClock, Inline

SENT_MS = int(BEGINS_S * 1000) + 5000


class Log:
    """An API that shows the same rows, those in the asked time, at every request."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.records: list[Record] = []
        self.rejected: list[RejectedRow] = []

    async def fetch(self, query: Query) -> Answer:
        self.clock.now_s += 0.1
        now_ms = int(self.clock.wall_s() * 1000)
        until_ms = now_ms if query.until_ms is None else query.until_ms
        shown = [each for each in self.records if (query.since_ms or 0) <= each.sent_ms <= until_ms]
        page = Page(Records.of(shown), len(shown) + len(self.rejected), self.rejected)
        now = self.clock.now_s
        return Answer(page, now_ms // 1000 * 1000, 0.1, now - 0.1, now)

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False


class World:
    def __init__(self, max_label_values: int = 100) -> None:
        self.clock = FakeClock()
        self.log = Log(self.clock)
        store = SqliteStore(sqlite3.connect(":memory:", isolation_level=None), "memory")
        store.create_tables()
        self.ledger = Ledger(store, "main", "instagram")
        captured = CapturingLogger()
        self.lines = captured.calls
        settings = Settings("main", "instagram", Poll(), Metrics(max_label_values=max_label_values), 100)
        log = cast("Any", structlog.wrap_logger(captured, processors=[]))
        self.feed = Feed(settings, self.log, self.ledger, self.clock, Inline(), Random(1), log)

    def poll(self) -> None:
        asyncio.run(self.feed.poll())
        self.clock.now_s += 30

    def warnings(self) -> list[dict[str, Any]]:
        return [line.kwargs for line in self.lines if line.method_name == "warning"]


def record(message_id: str, status: str) -> Record:
    kind = Kind(status, "", "", "", "", "shop", "", "", None, 1)
    return Record(message_id, SENT_MS, SENT_MS + 1000 if kind.final else None, kind, "")


def test_rejected_rows_are_told_once_for_each_reason_of_a_page_with_id_and_field() -> None:
    world = World()
    world.poll()
    world.log.rejected = [
        RejectedRow("no_sent_at", b"1" * 8, "a", "sentAt"),
        RejectedRow("no_sent_at", b"2" * 8, "b", "sentAt"),
        RejectedRow("no_id", b"3" * 8, "", "messageId"),
    ]
    world.poll()
    world.poll()
    told = [each for each in world.warnings() if "reason" in each]
    assert told == [
        {"event": "row can't be counted", "reason": "no_sent_at", "field": "sentAt", "message_id": "a"},
        {"event": "row can't be counted", "reason": "no_id", "field": "messageId", "message_id": ""},
    ]
    rejected = {s.label("reason"): n for s, n in world.ledger.counters.items() if "rejected" in s.family}
    assert rejected == {"no_sent_at": 2, "no_id": 1}


def test_messages_in_flight_beyond_the_cap_say_so() -> None:
    world = World(max_label_values=1)
    world.poll()
    world.log.records = [record("a", "PENDING"), record("b", "ACCEPTED")]
    world.poll()
    overflow = Series.of("infobip_exporter_label_overflow_total", label="general_status")
    statuses = sorted(series.label("general_status") for series in world.ledger.in_flight)
    assert statuses == ["PENDING", "__other__"]
    assert world.ledger.counters[overflow] == 1
    world.log.records = [record("a", "ACCEPTED"), record("b", "ACCEPTED")]
    world.poll()
    assert world.ledger.counters[overflow] == 2


def test_a_series_in_flight_stays_at_zero() -> None:
    world = World()
    world.poll()
    world.log.records = [record("a", "PENDING")]
    world.poll()
    [series] = world.ledger.in_flight
    assert world.feed.snapshot.in_flight == {series: 1}
    world.log.records = [record("a", "DELIVERED")]
    world.poll()
    assert world.feed.snapshot.in_flight == {series: 0}
