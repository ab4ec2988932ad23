"""What becomes of each feed when the configuration changes."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infobip_exporter.config.schema import Account, Config, Metrics, Poll, State
from infobip_exporter.errors import ConfigError, LedgerError, RequestFailed
from infobip_exporter.feed import Feed
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.model.secret import Secret
from infobip_exporter.runner import Runner, Settings, new_client
from infobip_exporter.service import Service
from tests.alerting.servers import until

# Nothing listens there: what the API says does not matter here.
ONE = Account("one", "http://127.0.0.1:1", api_key=Secret("key-of-one"), channels=("instagram", "sms"))
TWO = replace(ONE, name="two", channels=("instagram",))
CONFIG = Config((ONE,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


@pytest.fixture
def service(store: Store) -> Iterator[Service]:
    service = Service(CONFIG, store)
    service.start()
    yield service
    service.stop()


def runners(service: Service) -> dict[str, Runner]:
    return {runner.feed.name: runner for runner in service._runners}


def test_feeds_that_stay_the_same_are_not_touched(service: Service) -> None:
    before = runners(service)
    # Their caps on label values are the feed's, their zero starts the runner's.
    parts = {name: (runner.feed, runner.ledger, runner.zero_start) for name, runner in before.items()}
    service.change_to(replace(CONFIG, accounts=(TWO, ONE)))
    after = runners(service)
    assert {name: (after[name].feed, after[name].ledger, after[name].zero_start) for name in parts} == parts
    assert list(after) == ["two/instagram", "one/instagram", "one/sms"]
    assert {name: after[name] for name in before} == before
    assert all(runner.thread.is_alive() for runner in after.values())


def test_a_channel_that_goes_ends_and_leaves_the_others_alone(service: Service) -> None:
    before = runners(service)
    service.change_to(replace(CONFIG, accounts=(replace(ONE, channels=("sms",)),)))
    assert runners(service) == {"one/sms": before["one/sms"]}
    assert before["one/sms"].thread.is_alive()
    assert not before["one/instagram"].thread.is_alive()
    assert list(service.zero_starts()) == [("one", "sms")]
    assert [each.channel for each in service.snapshots()] == ["sms"]


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, accounts=(replace(ONE, requests_per_minute=7),)),
        replace(CONFIG, accounts=(replace(ONE, api_key=Secret("another-key")),)),
        replace(CONFIG, poll=Poll(interval_s=7)),
        replace(CONFIG, metrics=Metrics(max_label_values=7)),
    ],
)
def test_a_feed_that_is_changed_goes_on_with_what_it_had(service: Service, config: Config) -> None:
    before = runners(service)
    service.change_to(config)
    for name, runner in runners(service).items():
        assert runner is not before[name]
        assert runner.ledger is before[name].ledger
        assert runner.zero_start is before[name].zero_start
        assert runner.thread.is_alive()
        assert not before[name].thread.is_alive()
        assert runner.answered or not before[name].answered


def test_another_hold_begins_from_the_marks_in_the_ledger(service: Service) -> None:
    before = runners(service)
    service.change_to(replace(CONFIG, metrics=Metrics(zero_hold_s=7)))
    for name, runner in runners(service).items():
        assert runner.zero_start is not before[name].zero_start
        assert runner.ledger is before[name].ledger


def test_what_is_refused_changes_nothing(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runners(service)
    with pytest.raises(ConfigError, match="restart"):
        service.change_to(replace(CONFIG, accounts=(TWO,), state=State("sqlite:///other.db")))
    made = clients_made(monkeypatch)
    monkeypatch.setattr(Runner, "__init__", _no_ledger)
    with pytest.raises(LedgerError):
        service.change_to(replace(CONFIG, accounts=(TWO,)))
    assert runners(service) == before
    assert all(runner.thread.is_alive() for runner in before.values())
    [client] = made
    with pytest.raises(RequestFailed, match="the client is closed"):
        client.ask(Query(limit=1))


def _no_ledger(*_: object, **__: object) -> None:
    raise LedgerError("the disk is full")


def clients_made(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    made: list[Client] = []

    def tracked(settings: Settings) -> Client:
        made.append(new_client(settings))
        return made[-1]

    monkeypatch.setattr("infobip_exporter.service.new_client", tracked)
    return made


def test_where_no_thread_can_be_started_the_feeds_go_on_and_the_next_reload_counts_nothing_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runners(service)
    made = clients_made(monkeypatch)
    monkeypatch.setattr(threading, "_start_new_thread", refusing(threading._start_new_thread, after=1))  # type: ignore[attr-defined]
    # Three feeds: two is started, those of one are changed and can't be.
    changed = replace(CONFIG, accounts=(TWO, replace(ONE, requests_per_minute=7)))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        service.change_to(changed)
    assert runners(service) == before
    assert all(runner.thread.is_alive() for runner in before.values())
    assert len(made) == 3
    for client in made:
        with pytest.raises(RequestFailed, match="the client is closed"):
            client.ask(Query(limit=1))
    monkeypatch.undo()
    service.change_to(changed)
    until(lambda: [each.name for each in threading.enumerate()].count("two/instagram") == 1)
    assert all(runner.thread.is_alive() for runner in runners(service).values())


def refusing(start: Callable[..., object], after: int) -> Callable[..., object]:
    left = iter(range(after))

    def refuse(*arguments: object) -> object:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        return start(*arguments)

    return refuse


class Slow:
    """An API that does not answer, and does not notice that its client was closed, until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def ask(self, _: object) -> object:
        self.asked.set()
        self.let_go.wait(30)
        raise RequestFailed("timeout", "no whole answer")


@pytest.fixture
def slow(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Service, Slow]]:
    """A service whose feed one/sms hangs in a request."""
    monkeypatch.setattr("infobip_exporter.service.END_FEEDS_WITHIN_S", 0.05)
    slow = Slow()
    monkeypatch.setattr(
        Client,
        "ask",
        lambda self, question: slow.ask(question) if "sms" in self._url else real(self, question),
    )
    service = Service(CONFIG, store)
    service.start()
    assert slow.asked.wait(10)
    yield service, slow
    slow.let_go.set()
    service.stop()


real = Client.ask


def test_a_feed_that_hangs_delays_no_reload_and_never_do_two_write_its_ledger(
    slow: tuple[Service, Slow], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service, api = slow
    first = runners(service)["one/sms"]
    feeds = feeds_made(monkeypatch)
    for budget in (7, 8):  # the second comes while what the first has begun waits still
        began_s = time.monotonic()
        service.change_to(replace(CONFIG, accounts=(replace(ONE, requests_per_minute=budget), TWO)))
        assert time.monotonic() - began_s < 2
    assert "the feed is slow to end, what comes after it waits for that" in capsys.readouterr().out
    last = runners(service)["one/sms"]
    assert first.thread.is_alive()
    assert last.feed is first.feed  # what it shows meanwhile
    assert "one/sms" not in feeds
    assert runners(service)["one/instagram"].thread.is_alive()
    assert "two/instagram" in feeds
    api.let_go.set()
    until(lambda: last.feed is not first.feed)
    assert not first.thread.is_alive()
    assert last.ledger is first.ledger
    assert feeds["one/sms"] == 1  # what the first reload began ended before its turn
    assert last.thread.is_alive()


def test_a_feed_that_went_and_hangs_is_waited_for_when_it_comes_back(
    slow: tuple[Service, Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, api = slow
    first = runners(service)["one/sms"]
    ledgers: list[object] = []
    make = Ledger.__init__

    def tracked(self: Ledger, *arguments: Any) -> None:
        ledgers.append(arguments[1:])
        make(self, *arguments)

    monkeypatch.setattr(Ledger, "__init__", tracked)
    for accounts in ((replace(ONE, channels=("instagram",)),), (TWO,), (ONE,)):
        service.change_to(replace(CONFIG, accounts=accounts))
    last = runners(service)["one/sms"]
    assert last.feed is first.feed
    assert ("one", "sms") not in ledgers
    api.let_go.set()
    until(lambda: last.feed is not first.feed)
    assert not first.thread.is_alive()
    assert last.ledger is first.ledger


def test_what_a_refused_reload_has_begun_is_waited_for_as_well(
    slow: tuple[Service, Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, api = slow
    api.asked.clear()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "three/sms":
            assert api.asked.wait(10)  # two/sms hangs by now
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    two, three = (replace(ONE, name=name, channels=("sms",)) for name in ("two", "three"))
    with pytest.raises(RuntimeError):
        service.change_to(replace(CONFIG, accounts=(ONE, two, three)))
    feeds = feeds_made(monkeypatch)
    service.change_to(replace(CONFIG, accounts=(ONE, two)))
    assert "two/sms" not in feeds
    api.let_go.set()
    until(lambda: feeds["two/sms"] == 1)


def feeds_made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    made: Counter[str] = Counter()
    make = Runner._make_feed

    def tracked(self: Runner) -> Feed:
        made["/".join(self.settings.key)] += 1
        return make(self)

    monkeypatch.setattr(Runner, "_make_feed", tracked)
    return made
