"""A hostile client, a hostile API and hostile files against the running process; an honest scraper is measured meanwhile."""

import gzip
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bench.attacker import ATTACKS
from bench.attacks import GOAL_MIB, Security, exporter, get, security_for, under_attack
from bench.running import REPOSITORY, memory_mib
from tests.alerting.servers import Answering, answered_by, ready, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import account, sandbox

SECONDS = 6.0
PLATFORMS = 200
"""4,000 series, a page of 0.6 MB."""


@pytest.fixture(scope="module")
def log_url() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.log_server", "8000", "12", str(PLATFORMS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as log:
        assert log.stdout is not None
        url = log.stdout.readline().strip()
        subprocess.run(["curl", "-s", f"{url}/bench/open"], check=True, stdout=subprocess.DEVNULL)
        yield url
        log.terminate()


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory, log_url: str) -> Path:
    """The state of an exporter that has read the log."""
    folder = tmp_path_factory.mktemp("attacked") / "read"
    with exporter(folder, log_url, Security(), ["instagram"]) as server:
        until(lambda: len(get(server, "/metrics")) > 500_000, 60.0)
    return folder


@pytest.mark.parametrize("name", ATTACKS)
def test_an_honest_scraper_is_served_whatever_others_do(
    name: str, tmp_path: Path, log_url: str, read: Path
) -> None:
    security = security_for(name, tmp_path)
    shutil.copytree(read, tmp_path / "here")
    with exporter(tmp_path / "here", log_url, security, ["instagram"]) as server:
        honest = under_attack(name, server, "/-/healthy", SECONDS)
        memory = memory_mib(server.pid, "VmHWM")
    assert len(honest.scrapes_s) >= 1
    assert honest.failed == 0  # How fast they were is for `make bench`.
    assert memory < GOAL_MIB


# --- the API ---

BOMB = gzip.compress(b'{"results":[' + b"{}," * 5_000_000 + b"{}]}")
SLOW = b'{"results":[' + b",".join(b'{"x":[%s]}' % b",".join([b"NaN"] * 45) for _ in range(4999)) + b"]}"


class HostileApi(Answering):
    """Answers the log of Viber with whatever `page` holds, and that of Instagram with no messages."""

    page = b""
    encoding = "gzip"
    asked_s: list[float]

    def respond(self) -> None:
        if self.path.startswith("/instagram"):
            self.asked_s.append(time.monotonic())
            self.answer(200, b'{"results":[]}')
        else:
            self.answer(200, self.page, **({"Content-Encoding": self.encoding} if self.encoding else {}))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BOMB, "gzip"),
        (gzip.compress(BOMB), "gzip, gzip"),
        (SLOW, ""),
        (b'{"results":[' + b" " * 30_000_000, ""),
    ],
    ids=["many rows", "packed twice", "slow to read", "huge"],
)
def test_an_answer_made_to_cost_delays_no_other_feed_and_not_the_end(
    body: bytes, encoding: str, make_exporter: MakeExporter
) -> None:
    asked_s: list[float] = []
    handler = type("Handler", (HostileApi,), {"page": body, "encoding": encoding, "asked_s": asked_s})
    with answered_by(handler) as url:
        config = {
            "name": "hostile",
            "base_url": url,
            "api_key": "k",
            "channels": ["viber", "instagram"],
            "requests_per_minute": 6000,
        }
        exporter = make_exporter({"accounts": [config]})
        exporter.start()
        until(lambda: len(asked_s) >= 8, 30.0)
        assert memory_mib(exporter.pid, "VmHWM") < GOAL_MIB
        began_s = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began_s < 5.0
    gaps_s = [later - earlier for earlier, later in pairwise(asked_s)]
    assert max(gaps_s) < 1.0 + 1.0  # the interval, and a second


# --- files ---


def test_a_named_pipe_in_place_of_a_file_holds_up_nothing(make_exporter: MakeExporter) -> None:
    with sandbox() as api:
        key, web = "key", "web.yml"
        exporter = make_exporter({"accounts": []})
        folder = exporter.folder
        (folder / key).write_text("sandbox-key")
        (folder / web).write_text("rate_limit: {interval: 1ms, burst: 1000}")
        accounts = [account(api, api_key=None, api_key_file=key)]
        exporter.configure(
            {"accounts": accounts, "web": {"listen_address": exporter.address, "config_file": web}}
        )
        exporter.start(wait_until_ready=True)
        for name in (key, web, exporter.config_file.name):
            (folder / name).unlink()
            os.mkfifo(folder / name)
        os.kill(exporter.pid, signal.SIGHUP)
        until(lambda: exporter.log.count("not a regular file") >= 3, 20.0)
        assert ready(f"{exporter.url}/-/healthy")
        began_s = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began_s < 5.0


def test_the_state_is_for_its_user_alone_and_a_key_for_everybody_is_told(make_exporter: MakeExporter) -> None:
    with sandbox() as api:
        exporter = make_exporter({"accounts": []})
        key = exporter.folder / "key"
        key.write_text("sandbox-key")
        key.chmod(0o644)
        exporter.configure({"accounts": [account(api, api_key=None, api_key_file="key")]})
        exporter.start(wait_until_ready=True)
        files = sorted(exporter.folder.glob("state.db*"))
        assert [file.name.removeprefix("state.db") for file in files] == ["", "-shm", "-wal", ".lock"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert exporter.log.count("can be read by every user of this machine: chmod o-r") == 1
        exporter.stop()
