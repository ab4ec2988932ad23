"""`demo --replicas`: two exporters on one PostgreSQL and a simulated Infobip. One is killed; what the other does is printed."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from infobip_exporter.config.duration import format_duration
from infobip_exporter.errors import ExporterError
from infobip_sandbox.demo import CHANNELS, site_options
from infobip_sandbox.postgres import MISSING, Postgres, postgres, programs
from infobip_sandbox.server import Sandbox

PORTS = (10470, 10480)
LEASE_S = 6.0
POLL_S = 5.0
WITHIN_S = 60.0
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
CALM_S = 15.0
"""How long everything is left alone before something happens."""


@dataclass
class Replica:
    name: str
    url: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=_ENVIRONMENT)

    def end(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def value(self, series: str) -> float:
        """The sum of the series that begin so; 0 while nobody answers."""
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(re.escape(series), line))
        return 0.0

    @property
    def feeds(self) -> int:
        return int(self.value('infobip_exporter_feeds{state="owned"}'))

    @property
    def sent(self) -> int:
        return int(self.value("infobip_messages_sent_total{"))


def demo_replicas(tell: Callable[[str], None] = print) -> int:
    """Runs until SIGTERM or Ctrl-C. Raises ExporterError where there is no PostgreSQL on this machine."""
    if programs() is None:
        raise ExporterError(f"demo --replicas {MISSING}")
    with suppress(KeyboardInterrupt), _ended_by_sigterm(), _running(tell) as (first, second):
        _show(first, second, tell)
        while True:
            time.sleep(1)
    return 0


def _show(first: Replica, second: Replica, tell: Callable[[str], None]) -> None:
    """A failover, and the way back."""
    all_feeds = len(CHANNELS)
    _wait(lambda: first.feeds == second.feeds == all_feeds // 2)
    tell(f"Each runs one feed of {all_feeds} and stands by for the other.")
    time.sleep(CALM_S)
    sent = first.sent + second.sent
    began_s = time.monotonic()
    first.kill()
    tell(f"\n{first.name} is killed (kill -9) at {sent} messages.")
    _wait(lambda: second.feeds == all_feeds)
    took_s = time.monotonic() - began_s
    tell(f"{second.name} runs both feeds after {took_s:.1f} s (state.lease is {format_duration(LEASE_S)}).")
    _wait(lambda: second.sent >= sent)
    tell(f"It shows {second.sent} messages: no count was lost, none is counted twice.")
    time.sleep(CALM_S)
    first.start()
    tell(f"\n{first.name} is started again.")
    _wait(lambda: first.feeds == all_feeds // 2)
    tell(f"It has one of the feeds back. Together they show {first.sent + second.sent} messages.\n")
    tell(
        "Ctrl-C ends it; nothing is kept. Try it yourself: kill one, stop one (kill -STOP), look at the other."
    )


@contextmanager
def _running(tell: Callable[[str], None]) -> Iterator[tuple[Replica, Replica]]:
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="infobip-exporter-demo-")))
        sandbox = ends.enter_context(Sandbox(site_options(int(time.time() * 1000))))
        server = ends.enter_context(postgres())
        server.run("CREATE DATABASE demo")
        first, second = (
            _replica(f"Replica {name}", port, folder, sandbox, server)
            for name, port in zip("AB", PORTS, strict=True)
        )
        tell(
            f"A simulated Infobip is at {sandbox.base_url}, PostgreSQL in {server.folder}.\n"
            f"{first.name}: {first.url}/ (process log {first.log})\n"
            f"{second.name}: {second.url}/ (process log {second.log})\n"
        )
        for each in (first, second):
            ends.callback(each.end)
            each.start()
        yield first, second


def _replica(name: str, port: int, folder: Path, sandbox: Sandbox, server: Postgres) -> Replica:
    config = folder / f"{port}.yaml"
    account = {
        "name": "demo",
        "base_url": sandbox.base_url,
        "api_key": sandbox.api_key,
        "channels": [*CHANNELS],
    }
    config.write_text(
        yaml.safe_dump(
            {
                "accounts": [account],
                "poll": {"interval": format_duration(POLL_S), "lookback": "10m"},
                "metrics": {"zero_hold": "5s"},
                "state": {"url": server.url("demo"), "lease": format_duration(LEASE_S)},
                "web": {"listen_address": f"127.0.0.1:{port}"},
            }
        )
    )
    command = [sys.executable, "-m", "infobip_exporter", "run", f"--config.file={config}"]
    return Replica(name, f"http://127.0.0.1:{port}", command, folder / f"{port}.log")


def _wait(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise ExporterError(
                "demo --replicas: a replica does not do what it should; its process log tells why"
            )
        time.sleep(0.1)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
