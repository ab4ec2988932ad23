"""`python -m simulation.replicas`: one to three replicas on one PostgreSQL, in virtual time.

They freeze, are killed, are cut off from the database, have clocks of their own; answers of the database get lost and
statements arrive late. The invariants and the oracle are those of one process, and two more: at most one replica shows
a feed, and at most one writes in an epoch.
"""

import argparse
import asyncio
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar, cast
from unittest.mock import patch

from structlog.typing import FilteringBoundLogger

import infobip_exporter.feed.feed as feed_module
import infobip_exporter.feed.replica as replica_module
from infobip_exporter.errors import LeaseLost, LedgerAway, LedgerError
from infobip_exporter.feed.replica import Replica
from infobip_exporter.infobip.query import MAX_LIST_LENGTH, Query
from infobip_exporter.ledger.leases import Key, Lease, Leases
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.postgres import PostgresStore
from infobip_exporter.metrics.zero_start import Moment
from infobip_exporter.model.record import Answer
from infobip_sandbox import asked
from infobip_sandbox.postgres import Postgres, postgres
from simulation.api import SimulatedApi
from simulation.check import WatchedLedger
from simulation.crash import Process
from simulation.loop import VirtualLoop
from simulation.run import Ended, Life, LivedFeed, Outcome, WatchedFeed, _shortened
from simulation.shared_database import SharedDatabase, TroubledStore
from simulation.trace import TraceLog
from simulation.violation import Violated
from simulation.world import HOUR_S, SimulatedWorld, draw

LEASE_S = 15.0
TURN_EVERY_S = 2.0
"""Longer than in earnest: a world of hours gets short by it."""
LONGEST_WORLD_S = 2 * HOUR_S
LONGEST_CALL_S = 0.05
SHORTEST_S = 1e-6

BOOT: ContextVar[str] = ContextVar("boot")
T = TypeVar("T")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation.replicas", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone, with a trace")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--longest", type=int, default=0, help="seconds a seed may take; more is a failure")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    began_s, failed = time.monotonic(), []
    with postgres() as server:
        for seed in seeds:
            signal.alarm(arguments.longest)
            outcome = run(seed, server, print if arguments.seed is not None else None)
            signal.alarm(0)
            if outcome.problems:
                failed.append(seed)
                print(outcome, flush=True)
                if arguments.until_failure:
                    break
            elif arguments.seed is not None:
                print(outcome)
    print(f"{len(seeds)} seeds, {len(failed)} failed, {time.monotonic() - began_s:.0f} s")
    return 1 if failed else 0


def run(seed: int, server: Postgres, write: Callable[[str], None] | None = None) -> Outcome:
    """Live through the world of `seed` on replicas; with `write`, tell of everything that happens."""
    world = short_world(seed)
    outcome = Outcome(seed)
    life = SharedLife(world, seed, server, write)
    try:
        with (
            patch.object(asked, "LONGEST_LIST", _shortened(asked.LONGEST_LIST, world)),
            patch.object(replica_module, "TURN_EVERY_S", TURN_EVERY_S),
            patch.object(feed_module, "boot_id", BOOT.get),
        ):
            life.live()
        outcome.problems += life.lived.differences()
    except Violated as violated:
        outcome.problems.append(f"{life.now()}: {violated}")
    except Exception:  # noqa: BLE001 - whatever it was, the seed that shows it is to be told
        outcome.problems.append(f"{life.now()}: crashed\n{traceback.format_exc(limit=-8)}")
    finally:
        life.database.drop()
    lived = life.lived
    outcome.messages, outcome.requests = len(lived.messages), lived.api.requests
    outcome.commits, outcome.polls = lived.guard.commits, len(lived.polls)
    outcome.kills, outcome.lost_ms = life.fate.kills, lived.guard.lost.total_ms
    return outcome


def short_world(seed: int) -> SimulatedWorld:
    """A world with one feed, without what befalls a machine or its disk: replicas have troubles of their own."""
    number = 1000 * seed
    while True:
        world = draw(number)
        length_s = (world.feeds[0].traffic_until_ms - world.feeds[0].traffic_from_ms) / 1000
        if length_s <= LONGEST_WORLD_S + 48 * HOUR_S and world.config.poll.interval_s <= 60:
            break
        number += 1
    return replace(
        world,
        feeds=world.feeds[:1],
        wall_steps=(),
        suspends=(),
        slowest_commit_s=0.0,
        kill_every=0.0,
        most_kills=0,
        disk_full=(),
        statements_fail=0.0,
    )


class SharedLife(Life):
    """The replicas, through all their deaths, and the database between them."""

    def __init__(
        self, world: SimulatedWorld, seed: int, server: Postgres, write: Callable[[str], None] | None
    ) -> None:
        super().__init__(world, write)
        self._gap_s = (0.0, 0.0)
        self._skipped_s = 0.0
        self.database = SharedDatabase(server, f"seed_{seed}_{int(time.time())}", self.database_s)
        self.lived = SharedFeed(self, world.feeds[0])
        self.feeds = [self.lived]
        rng = Random(f"replicas {seed}")
        self.troubled_share = rng.choice((0.0, 0.01, 0.05))
        self.replicas = [
            SimulatedReplica(self, f"replica-{number}", Random(f"replica {seed} {number}"))
            for number in range(rng.choice((1, 2, 2, 2, 3)))
        ]

    def database_s(self) -> float:
        """The database's time. It stands still in the gaps in which nothing happens."""
        now_s = self.time.now_s
        from_s, until_s = self._gap_s
        ahead_s = until_s - max(now_s, from_s) if now_s < until_s else 0.0
        return self.time.begins_ms / 1000 + now_s - self._skipped_s + ahead_s

    async def skip(self, seconds: float) -> None:
        """Let time go by in which nothing happens."""
        self._gap_s = (self.time.now_s, self.time.now_s + seconds)
        self._skipped_s += seconds
        await asyncio.sleep(seconds)

    async def outlast_gap(self) -> None:
        while (left_s := self._gap_s[1] - self.time.now_s) > SHORTEST_S:  # noqa: ASYNC110 - another gap may follow
            await asyncio.sleep(left_s)

    def live(self) -> None:
        loop = VirtualLoop(self.time)
        try:
            loop.run_until_complete(self._live())
        finally:
            loop.abandon()

    async def _live(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(self._watched(each.live())) for each in self.replicas]
        tasks.append(asyncio.create_task(self._watched(self._scrape())))
        try:
            await self.over
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watched(self, work: "asyncio.Future[None] | object") -> None:
        try:
            await work  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - the world ends with it
            self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)

    async def _scrape(self) -> None:
        """As a Prometheus that asks all replicas: at most one shows the feed."""
        rng = Random(f"scrapes {self.world.seed}")
        while True:
            await asyncio.sleep(rng.uniform(5, 60))
            await self.outlast_gap()
            showing = [each for each in self.replicas if each.shows()]
            if len(showing) > 1:
                raise Violated(f"{', '.join(each.name for each in showing)} show the feed at once")
            if showing and showing[0].run is not None:
                self.lived.scraper.scrape(showing[0].run.feed.snapshot)


class SharedFeed(LivedFeed):
    """The feed of all replicas, its world, and what is kept of it for the oracle."""

    waiting_at_a_kill = 4  # then the next ones are reserved, with a commit

    life: SharedLife

    def _stored(self) -> Ledger:
        return Ledger(self.life.database.stored("main", self.world.channel), "main", self.world.channel)

    def begin_on(self, replica: "SimulatedReplica", store: TroubledStore) -> WatchedFeed:
        self.lives += 1
        self._was_certain = False
        self._knowable.process_began(self.life.time.run_s, self.api.answered)
        world = self.life.world
        self.api.process = Process()
        self.ledger = WatchedLedger(store, "main", self.world.channel, self.guard)
        self.scraper.begin(self.ledger)
        return WatchedFeed(
            self.settings(),
            GatedApi(self.api, replica),
            self.ledger,
            replica,
            FeedWorker(replica),
            Random(f"feed {world.seed} {self.lives}"),
            cast("FilteringBoundLogger", TraceLog(self.life.trace)),
            page_limit=world.page_limit,
            list_length=_shortened(MAX_LIST_LENGTH, world),
        ).watched_by(self)

    def _be_scraped(self, snapshot: object) -> None:
        del snapshot
        with suppress(LedgerError, LeaseLost):
            self.scraper.save_released()

    async def be_held_up(self) -> None:
        now_s = self.life.time.now_s
        if now_s >= self.life.ends_s and self._has_come_to_rest():
            raise Ended
        gap_s = min(self._quiet_s(), self._gaps.uniform(600, 7200))
        if gap_s > self.interval_s:
            await self.life.skip(gap_s)


@dataclass
class GatedApi:
    """The API as one replica reaches it."""

    api: SimulatedApi
    replica: "SimulatedReplica"

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False

    async def fetch(self, query: Query) -> Answer:
        await self.replica.gate()
        try:
            return await self.api.fetch(query)
        finally:
            await self.replica.gate()


@dataclass
class Run:
    feed: WatchedFeed
    task: "asyncio.Task[None] | None" = None
    lost: bool = False


class SimulatedReplica:
    """A process: its clock, its worker, and the feeds it runs. Wherever it waits for something it may freeze."""

    def __init__(self, life: SharedLife, name: str, rng: Random) -> None:
        self.life = life
        self.name = name
        self.rng = rng
        dates = life.world.feeds[0].dates
        # Where no answer tells the time, the exporter's clock must be right: there is nothing else to go by.
        relies = not dates.told or bool(dates.wrong_share or dates.bursts)
        self.skew_s = rng.choice((0.0, 0.0, rng.uniform(-20, 20))) * (not relies)
        self.run: Run | None = None
        self.lease = Lease(LEASE_S, self._now)
        self._frozen_until_s = 0.0
        self._cut_until_s = 0.0

    # Its clock

    def wall_s(self) -> float:
        return self.life.time.wall_s() + self.skew_s

    def monotonic_s(self) -> float:
        return self.life.time.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(SHORTEST_S, seconds))
        await self.life.outlast_gap()
        await self.gate()

    def _now(self) -> Moment:
        at_s = self.life.database_s()
        return Moment(at_s + self.skew_s, at_s)

    async def gate(self) -> None:
        """Stand still while frozen."""
        while (left_s := self._frozen_until_s - self.life.time.now_s) > 0:
            self.life.fate.writes_failed += 1  # which excuses what is late
            await asyncio.sleep(left_s)

    # Its worker

    async def work(self, work: Callable[[], T], lost_share: float) -> T:
        await self.gate()
        await asyncio.sleep(self.rng.uniform(SHORTEST_S, LONGEST_CALL_S))
        await self.gate()
        if self.life.time.now_s < self._cut_until_s:
            self.life.fate.writes_failed += 1
            raise LedgerAway("cut off from the database")
        self.life.database.set_clock()
        try:
            done = work()
        except LedgerAway:
            self.life.fate.writes_failed += 1
            raise
        await self.gate()
        if self.rng.random() < lost_share:
            self.life.trace(self.name, "the answer of the database was lost")
            raise LedgerAway("the answer was lost")
        return done

    # Its life

    async def live(self) -> None:
        BOOT.set(self.name)
        troubles = asyncio.create_task(self._troubles())
        try:
            while True:
                lived = asyncio.create_task(self._live_once())
                await asyncio.sleep(self.rng.expovariate(1 / HOUR_S))
                await self.life.outlast_gap()
                self.life.trace(self.name, "KILLED")
                self.life.fate.kills += 1
                lived.cancel()
                await asyncio.gather(lived, return_exceptions=True)
                await self._kill()
                self.lease = Lease(LEASE_S, self._now)
                self.life.fate.writes_failed += 1
                await asyncio.sleep(self.rng.uniform(1, 120))
        finally:
            troubles.cancel()
            await self._kill()

    async def _live_once(self) -> None:
        leases = Leases(self.life.database.connections, self.lease, self.name)
        log = cast("FilteringBoundLogger", TraceLog(self.life.trace))
        replica = Replica(leases, self.lease, self, self, LeaseWorker(self), log)
        try:
            await replica.run()
        except Exception as error:  # noqa: BLE001 - the world ends with it
            self.life.end(error)

    async def _troubles(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 900))
            await self.life.outlast_gap()
            length_s = self.rng.choice((1.0, 10.0, 20.0, 60.0)) * self.rng.uniform(0.5, 1.5)
            if self.rng.random() < 0.5:
                self.life.trace(self.name, f"frozen for {length_s:.1f} s")
                self._frozen_until_s = self.life.time.now_s + length_s
            else:
                self.life.trace(self.name, f"cut off for {length_s:.1f} s")
                self._cut_until_s = self.life.time.now_s + length_s

    async def _kill(self) -> None:
        run, self.run = self.run, None
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)

    def shows(self) -> bool:
        """Whether a scrape of this replica has the feed in it."""
        if self.life.time.now_s < self._frozen_until_s or self.run is None or self.run.lost:
            return False
        return self.lease.holds()

    # Its feeds

    def wanted(self) -> Collection[Key]:
        return [("main", self.life.lived.world.channel)]

    def running(self) -> Collection[Key]:
        return self.wanted() if self.run is not None and not self.run.lost else []

    def unreached(self) -> Collection[Key]:
        patience_s = LEASE_S + 2 * self.life.lived.interval_s
        return self.running() if self.run and self.run.feed.unreached_s > patience_s else []

    async def begin(self, key: Key) -> None:
        await self.end(key)
        inner = PostgresStore(self.life.database.connections, self.lease)
        store = TroubledStore(
            inner,
            self.life.database,
            self.lease.replica,
            self.rng,
            self.life.trace,
            self.life.troubled_share,
            self.life.database_s,
        )
        try:
            feed = await FeedWorker(self).run(lambda: self.life.lived.begin_on(self, store))
        except LeaseLost:
            return
        self.life.trace(self.name, "begins the feed")
        self.run = Run(feed)
        self.run.task = asyncio.create_task(self._poll(self.run))

    async def end(self, key: Key) -> None:
        del key
        if self.run is not None:
            self.life.trace(self.name, "ends the feed")
        await self._kill()

    async def _poll(self, run: Run) -> None:
        try:
            await run.feed.run()
        except LeaseLost:
            self.life.trace(self.name, "has lost the feed")
            run.lost = True
        except Ended:
            self.life.end()
        except Exception as error:  # noqa: BLE001 - the world ends with it
            self.life.end(error)


@dataclass
class FeedWorker:
    replica: SimulatedReplica

    async def run(self, work: Callable[[], T]) -> T:
        return await self.replica.work(work, 0.0)


@dataclass
class LeaseWorker:
    """Runs what is asked of the database about leases; some answers get lost."""

    replica: SimulatedReplica

    async def run(self, work: Callable[[], T]) -> T:
        return await self.replica.work(work, self.replica.life.troubled_share)


def _took_too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError("the seed takes too long: it goes in circles")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _took_too_long)
    sys.exit(main())
