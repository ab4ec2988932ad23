"""What becomes of each feed when the configuration changes, and of the releases of new series."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from infobip_exporter import app as app_module
from infobip_exporter import feeds as feeds_module
from infobip_exporter import logs
from infobip_exporter.app import App
from infobip_exporter.config.schema import Account, Config, Metrics, OAuth2, Poll, State
from infobip_exporter.errors import ConfigError, LedgerError, RequestFailed
from infobip_exporter.feed.supervisor import Supervisor
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.metrics.zero_start import Moment
from infobip_exporter.model.record import Answer
from infobip_exporter.model.secret import Secret
from infobip_exporter.model.series import Series

# Nothing listens there: what the API says does not matter here.
ONE = Account("one", "http://127.0.0.1:1", api_key=Secret("key-of-one"), channels=("instagram", "sms"))
TWO = replace(ONE, name="two", channels=("instagram",))
CONFIG = Config((ONE,))
SENT = Series.of("infobip_messages_sent_total", entity_id="", application_id="")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "state.db")
    yield store
    store.close()


@asynccontextmanager
async def living(store: SqliteStore) -> AsyncIterator[App]:
    """An app whose feeds run, for a minute at most."""
    async with asyncio.timeout(60):
        app = App(CONFIG, store)
        app.feeds.start()
        await asyncio.sleep(0)
        try:
            yield app
        finally:
            await app.end()


def feeds(app: App) -> dict[str, Supervisor]:
    return {each.feed.settings.name: each.feed for each in app.feeds.by_key.values()}


def runs(feed: Supervisor) -> bool:
    return feed._task is not None and not feed._task.done()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_feeds_that_stay_the_same_are_not_touched_while_others_come_and_go(store: SqliteStore) -> None:
    async with living(store) as app:
        gone, stays = feeds(app).values()
        # Their caps on label values are the feed's.
        parts, start = (stays.feed, stays.ledger), app.zero_starts()["one", "sms"]
        await app.change_to(replace(CONFIG, accounts=(TWO, replace(ONE, channels=("sms",)))))
        comes, same = feeds(app).values()
        assert [each.channel for each in app.snapshots()] == ["instagram", "sms"]
        assert list(app.zero_starts()) == [("two", "instagram"), ("one", "sms")]
        assert (same, same.feed, same.ledger) == (stays, *parts)
        assert app.zero_starts()["one", "sms"] is start
        assert (runs(comes), runs(same), runs(gone)) == (True, True, False)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, accounts=(replace(ONE, requests_per_minute=7),)),
        replace(CONFIG, accounts=(replace(ONE, api_key=Secret("another-key")),)),
        replace(CONFIG, accounts=(replace(ONE, filters={"sender": "x"}),)),
        replace(CONFIG, poll=Poll(interval_s=7)),
        replace(CONFIG, metrics=Metrics(max_label_values=7)),
    ],
)
async def test_a_feed_that_is_changed_continues_with_what_it_had(store: SqliteStore, config: Config) -> None:
    async with living(store) as app:
        before, starts = feeds(app), dict(app.zero_starts())
        await app.change_to(config)
        for name, feed in feeds(app).items():
            assert feed is not before[name]
            assert feed.ledger is before[name].ledger
            assert runs(feed)
            assert not runs(before[name])
        assert app.zero_starts() == starts


async def test_the_channels_of_an_account_share_its_credentials_until_these_change(
    store: SqliteStore,
) -> None:
    def credentials(app: App) -> list[object]:
        return [feed.client._credentials for feed in feeds(app).values()]

    async with living(store) as app:
        one, same = credentials(app)
        assert one is same
        await app.change_to(replace(CONFIG, accounts=(replace(ONE, filters={"sender": "x"}), TWO)))
        assert credentials(app)[:2] == [one, one]
        assert credentials(app)[2] is not one
        changed = replace(ONE, api_key=None, oauth2=OAuth2("me", Secret("x")))
        await app.change_to(replace(CONFIG, accounts=(changed,)))
        other, same = credentials(app)
        assert other is same
        assert other is not one


async def test_the_channels_of_an_account_share_its_credentials_after_a_reload_that_failed(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ledger(*_: object) -> None:
        raise LedgerError("the disk is full")

    async with living(store) as app:
        (before, *_) = (feed.client._credentials for feed in feeds(app).values())
        changed = replace(ONE, api_key=Secret("other"))
        with monkeypatch.context() as full:
            full.setattr(Ledger, "__init__", no_ledger)
            with pytest.raises(LedgerError):
                await app.change_to(replace(CONFIG, accounts=(changed, TWO)))
        await app.change_to(replace(CONFIG, accounts=(replace(ONE, channels=("sms", "viber")),)))
        assert {feed.client._credentials for feed in feeds(app).values()} == {before}


async def test_another_hold_takes_over_what_has_been_shown(store: SqliteStore) -> None:
    async with living(store) as app:
        start = app.zero_starts()["one", "sms"]
        start.add([SENT])
        assert SENT in start.held(app.now())
        await app.change_to(replace(CONFIG, metrics=Metrics(zero_hold_s=0)))
        assert app.zero_starts()["one", "sms"] is start
        assert SENT not in start.held(app.now())


async def test_what_is_refused_changes_nothing(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_ledger(*_: object) -> None:
        raise LedgerError("the disk is full")

    async with living(store) as app:
        before, starts = feeds(app), dict(app.zero_starts())
        with pytest.raises(ConfigError, match="restart"):
            await app.change_to(replace(CONFIG, accounts=(TWO,), state=State("sqlite:///other.db")))
        monkeypatch.setattr(Ledger, "__init__", no_ledger)
        with pytest.raises(LedgerError):
            await app.change_to(replace(CONFIG, accounts=(TWO,)))
        assert feeds(app) == before
        assert app.zero_starts() == starts
        assert all(runs(feed) for feed in before.values())


class Stubborn:
    """An API that does not answer, and does not notice that nobody waits any more, until it is let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def fetch(self) -> Answer:
        self.asked.set()
        cancelled: asyncio.CancelledError | None = None
        deadline_s = time.monotonic() + 5
        while not self.let_go.is_set() and time.monotonic() < deadline_s:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError as error:
                cancelled = error
        raise cancelled or RequestFailed("timeout", "no whole answer")


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> Stubborn:
    """The API of the channel sms."""
    api = Stubborn()
    real = Client.fetch

    async def fetch(self: Client, query: Query) -> Answer:
        return await (api.fetch() if "sms" in self._url else real(self, query))

    monkeypatch.setattr(Client, "fetch", fetch)
    monkeypatch.setattr(feeds_module, "END_WITHIN_S", 0.05)
    return api


async def test_a_feed_that_hangs_delays_no_reload_and_never_do_two_write_its_ledger(
    store: SqliteStore, stubborn: Stubborn, capsys: pytest.CaptureFixture[str]
) -> None:
    async with living(store) as app:
        await stubborn.asked.wait()
        first = feeds(app)["one/sms"]
        for budget in (7, 8):  # the second comes while what the first has begun waits still
            changed = replace(ONE, requests_per_minute=budget)
            async with asyncio.timeout(2):
                await app.change_to(replace(CONFIG, accounts=(changed, TWO)))
        logs.flush()
        assert "feed is slow to end, its successor waits" in capsys.readouterr().err
        last = feeds(app)["one/sms"]
        assert runs(first)
        assert last.feed is first.feed  # what it shows meanwhile
        assert runs(feeds(app)["two/instagram"])
        stubborn.let_go.set()
        await until(lambda: last.feed is not first.feed)
        assert not runs(first)
        assert last.ledger is first.ledger
        assert runs(last)


async def test_a_feed_that_went_and_hangs_is_waited_for_when_it_comes_back(
    store: SqliteStore, stubborn: Stubborn
) -> None:
    async with living(store) as app:
        await stubborn.asked.wait()
        first = feeds(app)["one/sms"]
        for accounts in ((replace(ONE, channels=("instagram",)),), (TWO,), (ONE,)):
            await app.change_to(replace(CONFIG, accounts=accounts))
        last = feeds(app)["one/sms"]
        assert last.feed is first.feed
        stubborn.let_go.set()
        await until(lambda: last.feed is not first.feed)
        assert not runs(first)
        assert last.ledger is first.ledger


async def test_a_feed_without_progress_is_down_and_unhealthy_whatever_it_said_last(
    store: SqliteStore,
) -> None:
    async with living(store) as app:
        assert app.stalled() == []
        feed = feeds(app)["one/sms"].feed
        feed._progressed_s = feed._sender.progressed_s = feed.progressed_s - 3600
        assert app.stalled() == ["one/sms"]
        assert [each.up for each in app.snapshots()] == [None, False]


async def test_releases_are_saved_though_a_reload_comes_in_between_and_offered_again_where_they_can_not_be(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with living(store) as app:
        start = app.zero_starts()["one", "sms"]
        ledger = feeds(app)["one/sms"].ledger
        start.add([SENT])
        start.shown([SENT], Moment(1000.0, 1000.0))
        save = Ledger.save_released

        def full(*_: object) -> None:
            raise LedgerError("disk full")

        monkeypatch.setattr(Ledger, "save_released", full)
        await app.feeds.save_released()
        assert ledger.released() == set()
        monkeypatch.setattr(Ledger, "save_released", save)
        saving = asyncio.create_task(app.feeds.save_released())
        await asyncio.sleep(0)
        await app.change_to(replace(CONFIG, accounts=(TWO,)))
        await saving
        assert list(ledger.released()) == [SENT]


async def test_an_error_nobody_thought_of_ends_nothing_that_is_done_again_and_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times: list[int] = []

    async def work() -> None:
        times.append(1)
        if len(times) == 1:
            raise ZeroDivisionError

    task = asyncio.create_task(app_module._every(0, work))
    await until(lambda: len(times) > 2)
    task.cancel()
    assert "internal error, continuing" in capsys.readouterr().out


async def test_all_feeds_live_in_one_thread(store: SqliteStore) -> None:
    async with living(store) as app:
        before = threading.active_count()
        many = tuple(replace(TWO, name=f"account-{number}") for number in range(50))
        await app.change_to(replace(CONFIG, accounts=many))
        assert len(app.snapshots()) == 50
        assert threading.active_count() <= before
