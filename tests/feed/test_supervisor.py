"""A feed that has stopped, for whatever reason, shows it and is started again from its ledger."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.errors import LedgerError, RequestFailed
from infobip_exporter.feed.clock import ThreadWorker
from infobip_exporter.feed.settings import Settings
from infobip_exporter.feed.supervisor import STALLED_MARGIN_S, STALLED_POLLS, Supervisor
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.model.record import Answer, Page, Records

T = TypeVar("T")

POLL = Poll(interval_s=30, timeout_s=10)
SETTINGS = Settings("main", "instagram", POLL, Metrics(), requests_per_minute=100)
STALLED_S = STALLED_POLLS * POLL.interval_s + POLL.timeout_s + STALLED_MARGIN_S
BEGINS_S = 1_790_000_000.0


class FakeClock:
    """Time passes only where it is told to. Whoever sleeps gives way to the others and goes on when it has passed."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_s(self) -> float:
        return BEGINS_S + self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        await asyncio.sleep(0)
        while self.now_s < until_s:  # noqa: ASYNC110 - the time is a number
            await asyncio.sleep(0)


class FakeApi:
    """An API whose log is empty. `hangs`: requests never end, not even by their time limit."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.hangs = False
        self.asked = 0
        self.closed = False

    async def fetch(self, _: Query) -> Answer:
        self.asked += 1
        if self.closed:
            raise RequestFailed("", "the client is closed")
        if self.hangs:
            await asyncio.Event().wait()
        now = self.clock.now_s
        return Answer(Page(Records.of([]), 0), int(self.clock.wall_s()) * 1000, 0.1, now, now)

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False

    async def close(self) -> None:
        self.closed = True


class Inline:
    """Does the work at once; one piece of it may be made to hang, as a disk does."""

    def __init__(self) -> None:
        self.hangs = False

    async def run(self, work: Callable[[], T]) -> T:
        if self.hangs:
            await asyncio.Event().wait()
        return work()


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    worker: Inline = field(default_factory=Inline)
    apis: list[FakeApi] = field(default_factory=list)
    opened: int = 0
    no_ledger: str = ""

    def __post_init__(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.store = SqliteStore(connection, "memory")
        self.store.create_tables()

    def open_ledger(self) -> Ledger:
        self.opened += 1
        if self.no_ledger:
            raise LedgerError(self.no_ledger)
        return Ledger(self.store, "main", "instagram")

    def open_client(self) -> Client:
        self.apis.append(FakeApi(self.clock))
        return cast("Client", self.apis[-1])

    def supervisor(self, before: Supervisor | None = None) -> Supervisor:
        return Supervisor(
            SETTINGS, self.open_client, self.open_ledger, self.clock, self.worker, before=before
        )

    async def passes(self, seconds: float, step_s: float = 1.0) -> None:
        until_s = self.clock.now_s + seconds
        while self.clock.now_s < until_s:
            self.clock.now_s += step_s
            for _ in range(20):
                await asyncio.sleep(0)


def lived(life: Callable[[World], Any]) -> None:
    asyncio.run(asyncio.wait_for(life(World()), 60))


def test_a_feed_that_polls_makes_progress() -> None:
    async def life(world: World) -> None:
        feed = world.supervisor()
        feed.start()
        await world.passes(3 * STALLED_S)
        assert not feed.stalled
        assert feed.answered
        assert feed.feed.snapshot.up
        feed.end()
        assert await feed.wait(1)
        assert world.apis[0].closed

    lived(life)


def test_a_request_that_hangs_for_ever_is_given_up_and_the_feed_started_again_with_a_new_client(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def life(world: World) -> None:
        feed = world.supervisor()
        feed.start()
        await world.passes(60)
        world.apis[0].hangs = True
        await world.passes(STALLED_S - 5)
        assert not feed.stalled
        await world.passes(60)
        assert feed.stalled
        await feed.restart_if_stalled()
        await world.passes(5)
        assert not feed.stalled
        assert [api.closed for api in world.apis] == [True, False]
        assert feed.feed.snapshot.up
        feed.end()
        assert await feed.wait(1)

    lived(life)
    assert capsys.readouterr().out.count("feed makes no progress") == 1


def test_a_commit_that_hangs_shows_the_feed_as_stalled_until_it_is_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def life(world: World) -> None:
        feed = world.supervisor()
        feed.start()
        await world.passes(60)
        world.worker.hangs = True
        await world.passes(2 * STALLED_S)
        for _ in range(3):
            await feed.restart_if_stalled()
            await world.passes(5)
            assert feed.stalled  # what hangs is the disk: starting again changes nothing yet
        world.worker.hangs = False
        await world.passes(2 * STALLED_S)
        await feed.restart_if_stalled()
        await world.passes(5)
        assert not feed.stalled
        assert feed.feed.snapshot.up
        feed.end()
        assert await feed.wait(1)

    lived(life)
    assert capsys.readouterr().out.count("feed makes no progress") == 2


def test_a_crash_is_told_once_and_the_feed_goes_on_from_its_ledger_as_soon_as_it_can_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def life(world: World) -> None:
        feed = world.supervisor()
        first = feed.feed

        async def crash() -> None:
            world.no_ledger = "state x.db: database disk image is malformed"
            raise ZeroDivisionError

        monkeypatch.setattr(first, "run", crash)
        feed.start()
        await world.passes(5)
        incident = feed.feed.snapshot.incident
        assert incident is not None
        assert incident.text == "ZeroDivisionError: see the log"
        assert feed.feed.snapshot.up is False
        await world.passes(STALLED_S)
        assert not feed.stalled  # it tries again and again
        world.no_ledger = ""
        await world.passes(20)
        assert feed.feed is not first
        assert feed.feed.snapshot.incident is None
        assert feed.feed.snapshot.up
        feed.end()
        assert await feed.wait(1)

    lived(life)
    said = capsys.readouterr().out
    assert said.count("feed crashed, restarting") == said.count("Traceback") == 1
    assert said.count("state failed, retrying") == 1


def test_a_ledger_that_can_not_be_written_is_waited_for_and_is_no_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def life(world: World) -> None:
        feed = world.supervisor()
        feed.start()
        await world.passes(60)
        written = feed.ledger.commit

        def full(_: object) -> None:
            raise LedgerError("state x.db: disk full")

        monkeypatch.setattr(feed.ledger, "commit", full)
        await world.passes(2 * STALLED_S)
        assert not feed.stalled
        assert feed.feed.snapshot.up is False
        monkeypatch.setattr(feed.ledger, "commit", written)
        await world.passes(60)
        assert feed.feed.snapshot.up
        assert world.opened == 1
        feed.end()
        assert await feed.wait(1)

    lived(life)


def test_the_feed_after_another_begins_when_that_has_ended_and_with_its_ledger() -> None:
    async def life(world: World) -> None:
        first = world.supervisor()
        first.start()
        await world.passes(5)
        world.apis[0].hangs = True
        second = world.supervisor(before=first)
        second.start()
        await world.passes(60)
        assert second.feed is first.feed
        assert world.apis[1].asked == 0
        first.end()
        assert await first.wait(1)
        await world.passes(60)
        assert second.ledger is first.ledger
        assert second.feed is not first.feed
        assert world.apis[1].asked > 0
        assert second.answered
        assert world.opened == 1
        second.end()
        assert await second.wait(1)

    lived(life)


def test_whoever_is_cancelled_waits_for_the_work_that_was_begun() -> None:
    async def life(_: World) -> None:
        done: list[str] = []
        worker = ThreadWorker("test")
        task = asyncio.create_task(worker.run(lambda: (time.sleep(0.05), done.append("committed"))))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["committed"]

    lived(life)


def test_work_that_hangs_is_abandoned_at_the_end() -> None:
    async def life(_: World) -> None:
        worker = ThreadWorker("test")
        task = asyncio.create_task(worker.run(lambda: time.sleep(3)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        began_s = time.monotonic()
        worker.abandon()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began_s < 1

    lived(life)
