"""A feed that falls over begins again from its ledger, as soon as there is one to begin from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infobip_exporter import runner as runner_module
from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed import Feed
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.model.secret import Secret
from infobip_exporter.runner import Runner, new_client, settings_of
from tests.alerting.servers import until

CONFIG = Config((Account("main", "http://127.0.0.1:1", api_key=Secret("0123456789")),))


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setattr(runner_module, "START_AGAIN_AFTER_S", 0.01)
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    [settings] = settings_of(CONFIG)
    runner = Runner(settings, store, new_client(settings))
    yield runner
    runner.stop()
    runner.thread.join(10)
    store.close()


def test_a_ledger_that_can_not_be_begun_again_from_is_a_trouble_told_once_and_tried_again(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[Feed] = []
    tried: list[str | None] = []
    run, make = Feed.run, Ledger.__init__

    def falls_over_once(feed: Feed) -> None:
        runs.append(feed)
        if len(runs) == 1:
            raise ZeroDivisionError
        run(feed)

    def damaged_for_a_while(ledger: Ledger, *arguments: object) -> None:
        tried.append(runner.feed.snapshot.trouble and runner.feed.snapshot.trouble.text)
        if len(tried) < 5:
            raise LedgerError("state x.db: database disk image is malformed")
        make(ledger, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Feed, "run", falls_over_once)
    monkeypatch.setattr(Ledger, "__init__", damaged_for_a_while)
    runner.thread.start()
    until(lambda: len(runs) == 2)
    said = capsys.readouterr().out
    assert said.count("the feed fell over") == 1
    assert said.count("Traceback") == 1
    assert said.count("state trouble, trying again") == 1
    assert "database disk image is malformed" in said
    assert tried[0] == "ZeroDivisionError: see the log"
    assert runs[1] is runner.feed is not runs[0]
