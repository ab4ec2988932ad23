"""The demo: an exporter's configuration that finds lively traffic, and words on where to look."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infobip_exporter.config.schema import Config, Log
from infobip_exporter.errors import ExporterError, ListenError
from infobip_exporter.model.channels import LOG_PATHS
from infobip_sandbox import demo_replicas
from infobip_sandbox.demo import CHANNELS, demo, site_options
from infobip_sandbox.site import Site
from infobip_sandbox.traffic import HOUR_MS
from tests.alerting.servers import HTTP, free_address
from tests.databases import needs_postgres


@contextmanager
def nobody(exporter: str, folder: Path, told: Callable[[str], None]) -> Iterator[str]:
    yield f"nobody watches {exporter}"


def test_the_demo_runs_the_exporter_on_a_sandbox_that_answers_every_channel() -> None:
    seen: list[Config] = []

    def run(config: Config) -> int:
        seen.append(config)
        [account] = config.accounts
        assert account.api_key is not None
        key = {"Authorization": f"App {account.api_key.reveal()}"}
        for channel in account.channels:
            answer = HTTP.get(account.base_url + LOG_PATHS[channel], headers=key)
            assert len(answer.json()["results"]) == 50
        return 7

    assert demo(None, Log(level="warn"), run=run, watch=nobody) == 7
    [config] = seen
    assert config.web.listen_address == ("127.0.0.1:10470",)
    assert config.log.level == "warn"
    assert config.poll.lookback_s > 0
    with pytest.raises(httpx.ConnectError):
        HTTP.get(config.accounts[0].base_url)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("hour", [0, 5, 14, 21])
def test_whenever_it_starts_shop_france_has_a_minute_of_rejected_messages_after_a_calm(
    hour: int, channel: str
) -> None:
    starts_ms = 1_790_035_200_000 + hour * HOUR_MS
    world = Site(site_options(starts_ms), starts_ms).log("demo", channel).log.world

    def rejected_and_all(since_s: int, until_s: int) -> tuple[int, int]:
        told = world.truth(starts_ms + HOUR_MS, starts_ms + since_s * 1000, starts_ms + until_s * 1000)
        of_shop = {key: count for key, count in told.settled.items() if key[2] == "shop-france"}
        return sum(count for key, count in of_shop.items() if key[0] == "REJECTED"), sum(of_shop.values())

    calm, all_in_calm = rejected_and_all(-300, 40)
    burst, all_in_burst = rejected_and_all(40, 100)
    assert calm < 0.1 * all_in_calm
    assert burst > 0.75 * all_in_burst
    assert burst > 100


def test_the_burst_is_counted_from_when_the_demo_starts() -> None:
    before_ms = int(time.time() * 1000)

    def run(config: Config) -> int:
        # However long it took to come here, the minute lies in this window. Without a burst there are some ten.
        window = {"since": before_ms + 40_000, "until": int(time.time() * 1000) + 100_000}
        told = HTTP.get(
            f"{config.accounts[0].base_url}/sandbox/truth", params=window | {"now": window["until"] + HOUR_MS}
        ).json()
        of_shop = [(row[0], row[-1]) for row in told["settled"] if row[2] == "shop-france"]
        assert sum(count for status, count in of_shop if status == "REJECTED") > 60
        return 0

    assert demo(None, Log(), run=run, watch=nobody) == 0


def test_the_demo_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    demo("0.0.0.0:9999", Log(), run=lambda config: 0, watch=nobody)
    told = capsys.readouterr().out
    for expected in (
        "http://127.0.0.1:9999/metrics",
        "http://127.0.0.1:9999/\n",
        "rate(infobip_",
        "Ctrl-C",
        "nobody watches 127.0.0.1:9999",
    ):
        assert expected in told


def test_a_taken_port_is_told_with_the_way_out() -> None:
    def run(config: Config) -> int:
        raise ListenError("can't listen on 127.0.0.1:10470: already in use")

    with pytest.raises(ListenError, match=r"--web.listen-address=127.0.0.1:10471"):
        demo(None, Log(), run=run, watch=nobody)


@needs_postgres
def test_the_demo_of_replicas_shows_a_failover_in_which_no_count_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = tuple(int(free_address().rpartition(":")[2]) for _ in range(2))
    monkeypatch.setattr(demo_replicas, "PORTS", ports)
    monkeypatch.setattr(demo_replicas, "CALM_S", 3.0)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if line.startswith("Ctrl-C"):
            raise KeyboardInterrupt

    assert demo_replicas.demo_replicas(tell) == 0
    said = "\n".join(told)
    assert "Replica A is killed" in said
    assert "Replica B runs both feeds after" in said
    assert "no count was lost" in said
    assert "It has one of the feeds back" in said


def test_the_demo_of_replicas_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_replicas, "programs", lambda: None)
    with pytest.raises(ExporterError, match="apt install postgresql"):
        demo_replicas.demo_replicas()
