"""A feed in virtual time on a simulated log."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, cast

import structlog
from structlog.testing import CapturingLogger

from infobip_exporter.config.schema import Config, Metrics, Poll
from infobip_exporter.errors import RequestFailed
from infobip_exporter.feed import Feed
from infobip_exporter.infobip.answer import decode_page
from infobip_exporter.infobip.headers import date_ms
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.snapshot import Series
from infobip_exporter.model.record import Answer
from infobip_exporter.sandbox.log import SimulatedLog
from infobip_exporter.sandbox.message import Message
from infobip_exporter.sandbox.quirks import DOCUMENTED, Quirks
from infobip_exporter.sandbox.world import World
from simulation.time import VirtualTime

BEGINS_MS = 1_790_000_000_000
HOUR_S = 3600
PLAIN_POLL = Poll()


@dataclass
class FeedWorld:
    """One feed, whatever becomes of its process. `fails` may raise RequestFailed instead of an answer."""

    messages: list[Message] = field(default_factory=list)
    poll: Poll = PLAIN_POLL
    quirks: Quirks = DOCUMENTED
    budget: int = 100
    wrong_date_s: int = 0
    """How far off the Date of the next answer is, in seconds."""
    undated: int = 0
    """How many of the next answers tell no time."""
    new_key_at_s: float = float("inf")
    fails: Callable[[Query], None] = lambda _question: None
    time: VirtualTime = field(default_factory=lambda: VirtualTime(BEGINS_MS, float("inf")))
    questions: list[tuple[float, Query]] = field(default_factory=list)
    lines: list[Any] = field(default_factory=list)
    connection: sqlite3.Connection = field(
        default_factory=lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    )

    def __post_init__(self) -> None:
        self.world = World(messages=self.messages)
        self.log = SimulatedLog(self.world, self.quirks, Random(1))
        self.start()

    def start(self) -> None:
        """A new process on the same ledger."""
        store = Store(self.connection, "memory")
        store.migrate()
        self.ledger = Ledger(store, "main", "instagram")
        captured = CapturingLogger()
        self.lines = captured.calls
        log = structlog.wrap_logger(captured, processors=[])
        config = Config(accounts=(), poll=self.poll, metrics=Metrics())
        self.feed = Feed(
            "main",
            "instagram",
            config,
            self.budget,
            self,
            self.ledger,
            self.time,
            Random(2),
            cast("Any", log),
        )

    def ask(self, question: Query) -> Answer:
        self.questions.append((self.time.now_s, question))
        self.time.advance(0.05)
        self.fails(question)
        reply = self.log.answer(question.parameters({}), self.time.api_ms)
        if reply.status != 200:
            raise RequestFailed(str(reply.status), "refused", took_s=0.05)
        date = date_ms({name.lower(): value for name, value in reply.headers.items()}) or 0
        wrong_by_ms, self.wrong_date_s = 1000 * self.wrong_date_s, 0
        if self.undated:
            self.undated -= 1
            return Answer(decode_page(reply.body), None, 0.05)
        return Answer(decode_page(reply.body), date + wrong_by_ms, 0.05)

    def has_new_key(self) -> bool:
        return bool(self.questions) and self.questions[-1][0] < self.new_key_at_s <= self.time.now_s

    def live(self, seconds: float) -> None:
        """Poll for so long, then stand at the end of it."""
        until_s = self.time.now_s + seconds
        while self.time.now_s < until_s:
            began_s = self.time.now_s
            self.feed.poll()
            self.time.advance(min(began_s + self.poll.interval_s, until_s) - self.time.now_s)

    def total(self, family: str) -> int | Decimal:
        return sum(value for series, value in self.ledger.counters.items() if series.family == family)

    def counter(self, family: str, *labels: str) -> int | Decimal:
        return self.ledger.counters.get(Series(family, labels), 0)

    def asked_since(self, moment_s: float) -> list[Query]:
        return [question for at_s, question in self.questions if at_s >= moment_s]
