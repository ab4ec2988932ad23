"""The demo: an exporter's configuration that finds lively traffic, and words on where to look."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infobip_exporter.api.channels import LOG_PATHS
from infobip_exporter.config.schema import Config, Log
from infobip_exporter.demo import demo
from infobip_exporter.errors import ListenError


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
            answer = httpx.get(account.base_url + LOG_PATHS[channel], headers=key)
            assert len(answer.json()["results"]) == 50
        return 7

    assert demo(None, Log(level="warn"), run=run, watch=nobody) == 7
    [config] = seen
    assert config.web.listen_address == "127.0.0.1:10470"
    assert config.log.level == "warn"
    assert config.poll.lookback_s > 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(config.accounts[0].base_url)


def test_a_burst_of_rejected_comes_within_two_minutes() -> None:
    def run(config: Config) -> int:
        now_ms = int(time.time() * 1000)
        window = {"since": now_ms, "until": now_ms + 120_000, "now": now_ms + 300_000}
        truth = httpx.get(f"{config.accounts[0].base_url}/sandbox/truth", params=window).json()
        settled = [(row[0], row[-1]) for row in truth["settled"] if row[2] == "shop-france"]
        rejected = sum(count for status, count in settled if status == "REJECTED")
        assert rejected > 100
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
