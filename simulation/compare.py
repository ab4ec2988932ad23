"""`make compare`: eight hours of one simulated account, counted by the exporter and by a poller of sixty lines, beside the truth.

The same log answers both. The hours have what days have: traffic that swings, records that turn up late, messages that
settle within seconds or hours, a campaign of 60 messages a second, an API that fails now and then and is down for
twenty minutes, and two restarts, the second with three minutes in between.
"""

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import cast

from structlog.typing import FilteringBoundLogger

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.errors import RequestFailed
from infobip_exporter.feed.feed import Feed
from infobip_exporter.feed.settings import Settings
from infobip_exporter.infobip.answer import decode_page
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Answer
from infobip_sandbox.faults import Faults, FaultyLog, Outage
from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.replies import Reply
from infobip_sandbox.traffic import HOUR_MS, Incident, Traffic
from infobip_sandbox.world import World
from simulation.loop import VirtualLoop
from simulation.measure import Inline, PlainClock
from simulation.plain_poller import DELAY_MS, PlainPoller
from simulation.time import WorldTime
from simulation.trace import Trace, TraceLog
from simulation.world import BEGINS_MS

INTERVAL_S = 30.0
REQUEST_S = 0.2
MINUTE_MS = 60_000
HOURS = 8
LAST_SENT_MS = BEGINS_MS + HOURS * HOUR_MS
ENDS_S = HOURS * 3600 + 1800
"""Half an hour later, so that both have read everything."""
CAMPAIGN = Incident(
    BEGINS_MS + 3 * HOUR_MS, 10 * MINUTE_MS, "undeliverable", share=0.1, extra_per_second=60.0
)
TRAFFIC = Traffic(per_second=1.0, late_max_ms=20 * MINUTE_MS, incidents=(CAMPAIGN,))
FAULTS = Faults(
    shares={"500": 0.005, "timeout_after": 0.005, "429": 0.005},
    outages=(Outage(BEGINS_MS + 5 * HOUR_MS, BEGINS_MS + 5 * HOUR_MS + 20 * MINUTE_MS),),
)
DOWN_S = ((2 * 3600.0, 20.0), (6 * 3600.0, 180.0))
"""When the process ends, and for how long."""


class Api:
    """The log behind a network that takes 0.2 s there and back, for one client."""

    def __init__(self, time: WorldTime) -> None:
        self._time = time
        world = World(TRAFFIC, "compare", begins_ms=BEGINS_MS, ends_ms=LAST_SENT_MS)
        self._log = FaultyLog(SimulatedLog(world, rng=Random("log")), FAULTS, Random("faults"))

    def now_ms(self) -> int:
        return self._time.begins_ms + round(self._time.now_s * 1000)

    def reply(self, parameters: Mapping[str, str]) -> Reply:
        return self._log.answer(parameters, self.now_ms())

    def body(self, parameters: Mapping[str, str]) -> bytes:
        """For the plain poller."""
        reply = self.reply(parameters)
        if reply.fault or reply.status != 200:
            raise OSError(reply.fault or reply.status)
        return reply.body

    async def fetch(self, query: Query) -> Answer:
        """For the exporter."""
        asked_s = self._time.monotonic_s()
        await asyncio.sleep(REQUEST_S / 2)
        now_ms = self.now_ms()
        reply = self.reply(query.parameters({}))
        await asyncio.sleep(REQUEST_S / 2)
        received_s = self._time.monotonic_s()
        took_s = received_s - asked_s
        if reply.fault:
            raise RequestFailed("connection", reply.fault, took_s=took_s)
        if reply.status != 200:
            raise RequestFailed(str(reply.status), "refused", took_s=took_s)
        return Answer(decode_page(reply.body), now_ms // 1000 * 1000, took_s, asked_s, received_s)

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False

    def truth(self, since_ms: int) -> Counter[str]:
        """How many messages sent from `since_ms` on have which status now."""
        truth = self._log.log.world.truth(self.now_ms(), since_ms, LAST_SENT_MS)
        return _by_status(truth.settled.items()) + _by_status(truth.in_flight.items())


def exporter_counts() -> tuple[Counter[str], Counter[str]]:
    """What the exporter counts, and the truth from the moment on at which it begins."""
    time = WorldTime(BEGINS_MS)
    api = Api(time)
    store = SqliteStore(sqlite3.connect(":memory:", isolation_level=None), "memory")
    store.create_tables()
    loop = VirtualLoop(time)
    for ends_s, down_s in (*DOWN_S, (ENDS_S, 0.0)):
        ledger = Ledger(store, "main", "instagram")
        settings = Settings("main", "instagram", Poll(interval_s=INTERVAL_S), Metrics(), 100)
        feed = Feed(
            settings, api, ledger, PlainClock(time), Inline(), Random(1),
            cast("FilteringBoundLogger", TraceLog(Trace())),
        )  # fmt: skip
        loop.run_until_complete(_poll_until(feed, time, ends_s))
        time.advance(down_s)
    loop.close()
    counted: Counter[str] = Counter()
    for series, count in ledger.counters.items():
        if series.family == catalog.MESSAGES.name:
            counted[dict(series.labels)["general_status"]] += int(count)
    for series, count in ledger.in_flight.items():
        counted[dict(series.labels)["general_status"]] += int(count)
    return counted, api.truth(ledger.progress.begin_ms or BEGINS_MS)


async def _poll_until(feed: Feed, time: WorldTime, ends_s: float) -> None:
    while time.now_s < ends_s:
        began_s = time.now_s
        await feed.poll()
        await asyncio.sleep(max(0.0, began_s + INTERVAL_S - time.now_s))


def plain_counts() -> Counter[str]:
    """What the plain poller counts: Prometheus adds up what each of its lives has counted."""
    time = WorldTime(BEGINS_MS)
    api = Api(time)
    counted: Counter[str] = Counter()
    for ends_s, down_s in (*DOWN_S, (ENDS_S + DELAY_MS / 1000, 0.0)):
        poller = PlainPoller(api.body)
        while time.now_s < ends_s:
            poller.poll(api.now_ms(), round(INTERVAL_S * 1000))
            time.advance(INTERVAL_S)
        counted += poller.messages_total
        time.advance(down_s)
    return counted


def _by_status(counts: Iterable[tuple[tuple[str, ...], int]]) -> Counter[str]:
    by_status: Counter[str] = Counter()
    for (status, *_), count in counts:
        by_status[status] += count
    return by_status


def table(truth: Counter[str], exporter: Counter[str], plain: Counter[str]) -> list[str]:
    """A row for each status, in Markdown."""
    rows = ["| | truth | exporter | plain poller | |", "|---|--:|--:|--:|--:|"]
    for status in ["all", *sorted(truth | exporter | plain)]:
        true, ours, theirs = (
            each.total() if status == "all" else each[status] for each in (truth, exporter, plain)
        )
        off = f"{(theirs - true) / true:+.1%}" if true else "of 0"
        rows.append(f"| {status} | {true} | {ours} | {theirs} | {off} |")
    return rows


def main() -> int:
    exporter, truth = exporter_counts()
    print(*table(truth, exporter, plain_counts()), sep="\n")
    return 0 if exporter == truth else 1


if __name__ == "__main__":
    sys.exit(main())
