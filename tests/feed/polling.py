"""A feed on a log that is a list of records, in time that passes only where the feed waits."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import structlog

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.errors import RequestFailed
from infobip_exporter.feed.clock import Worker
from infobip_exporter.feed.feed import Feed
from infobip_exporter.feed.settings import Settings
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Answer, Page, Record, Records
from tests.feed.recording import BEGIN_MS, Inline, Recording, StillClock

ANSWERS_AFTER_S = 0.05


@dataclass
class Polling:
    """The log shows the newest `page_limit` rows that match. The feed begins `lookback_s` before `clock`."""

    records: list[Record] = field(default_factory=list)
    lookback_s: float = 0.0
    budget: int = 100
    page_limit: int = 1000
    interval_s: float = 30.0
    list_length: int = 2048
    clock: StillClock = field(default_factory=StillClock)
    worker: Worker = field(default_factory=Inline)
    date_off_s: Callable[[], float] = lambda: 0.0
    unshowable: Record | None = None
    """A row that spoils each answer it should be in."""
    queries: list[tuple[float, Query]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recording = Recording(clock=self.clock)
        self.start()

    def start(self) -> None:
        """A new process on the same ledger."""
        self.ledger = Ledger(self.recording.store, "main", "sms")
        self.recording.ledger = self.ledger
        poll = Poll(self.interval_s, self.lookback_s, 120.0, 10.0)
        self.feed = Feed(
            Settings("main", "sms", poll, Metrics(), self.budget),
            self,
            self.ledger,
            self.clock,
            self.worker,
            Random(1),
            structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[]),
            page_limit=self.page_limit,
            list_length=self.list_length,
        )

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False

    async def fetch(self, query: Query) -> Answer:
        asked_s = self.clock.now_s
        self.queries.append((asked_s, query))
        now_ms = BEGIN_MS + round(asked_s * 1000)
        rows = [each for each in self.records if each.sent_ms <= now_ms and _matches(each, query)]
        rows = sorted(rows, key=lambda each: -each.sent_ms)[: query.limit]
        await asyncio.sleep(0)
        self.clock.now_s += ANSWERS_AFTER_S
        if self.unshowable in rows:
            raise RequestFailed("500", "refused")
        date_ms = (now_ms + round(self.date_off_s() * 1000)) // 1000 * 1000
        return Answer(Page(Records.of(rows), len(rows)), date_ms, ANSWERS_AFTER_S, asked_s, self.clock.now_s)

    async def live(self, polls: int) -> None:
        for _ in range(polls):
            began_s, interval_s = self.clock.now_s, self.feed.interval_s
            await self.feed.poll()
            self.clock.now_s = max(self.clock.now_s, began_s + interval_s)

    @property
    def sent(self) -> float:
        return float(self.recording.total(catalog.SENT))


def _matches(record: Record, query: Query) -> bool:
    return (
        (query.since_ms is None or record.sent_ms >= query.since_ms)
        and (query.until_ms is None or record.sent_ms < query.until_ms)
        and (not query.message_ids or record.message_id in query.message_ids)
        and (query.general_status is None or record.kind.general_status == query.general_status)
    )
