"""What becomes of each feed when the configuration changes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infobip_exporter.config.schema import Account, Config, Metrics, Poll, Secret, State
from infobip_exporter.errors import ConfigError, LedgerError
from infobip_exporter.ledger.store import Store
from infobip_exporter.runner import Runner
from infobip_exporter.service import Service

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
    service.change_to(replace(CONFIG, accounts=(TWO, ONE)))
    after = runners(service)
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
    monkeypatch.setattr(Runner, "__init__", _no_ledger)
    with pytest.raises(LedgerError):
        service.change_to(replace(CONFIG, accounts=(TWO,)))
    assert runners(service) == before
    assert all(runner.thread.is_alive() for runner in before.values())


def _no_ledger(*_: object, **__: object) -> None:
    raise LedgerError("the disk is full")
