"""The exporter and the sandbox as processes of their own, as they run in earnest."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.alerting.servers import HTTP, free_address, ready, until
from tests.end_to_end.counts import Counts, difference, read_counts, true_counts

REPOSITORY = Path(__file__).parents[2]
START_S = 20.0
NO_LIMIT = ("--fault", "requests_per_minute=0")
"""For a sandbox that is to be read as fast as the exporter can."""
QUICK = ("--traffic", "settle_median_s=0.4", "--traffic", "settle_sigma=0.6", "--traffic", "late_max_ms=1900")
"""Messages that settle and turn up soon, so that a test need not wait for them."""
TURN_UP_MS = 2000

EAGER = {
    "poll": {"interval": "1s", "late_arrival": "2s", "lookback": "1h", "timeout": "5s"},
    "metrics": {"zero_hold": "2s"},
}
"""Quick in everything, so that a test need not wait."""


class Sandbox:
    """A simulated Infobip. `control` talks to what is behind it."""

    def __init__(self, base_url: str, process: subprocess.Popen[str]) -> None:
        self.base_url = base_url
        self.process = process
        self.quiet_from_ms = 0

    def control(self, method: str, what: str, body: Any = None, **query: Any) -> Any:
        answer = HTTP.request(
            method, f"{self.base_url}/sandbox/{what}", params=query, json=body, timeout=60.0
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def truth(self, **query: Any) -> Counts:
        """What the counters and the messages in flight must be once everything up to now has been read."""
        return true_counts(self.control("GET", "truth", **query))

    def requests(self, **query: Any) -> int:
        total: int = self.control("GET", "requests", **query)["total"]
        return total

    def lively_for(self, seconds: float, per_second: float, **query: Any) -> int:
        """Traffic of every kind from now on, for a while; the moment of its end in milliseconds."""
        body = {"seconds": seconds, "extra_per_second": per_second, "share": 0.0}
        end_ms: int = self.control("POST", "incident", body, **query)["end_ms"]
        self.quiet_from_ms = max(self.quiet_from_ms, end_ms + TURN_UP_MS)
        return end_ms

    def now_ms(self) -> int:
        now: int = self.control("GET", "now")["now_ms"]
        return now


@contextmanager
def sandbox(*flags: str) -> Iterator[Sandbox]:
    """Without traffic of its own, which could not be stopped, unless `flags` say so."""
    command = [sys.executable, "-m", "infobip_sandbox", "--rate=0", "--history-hours=0.5", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as process:
        try:
            assert process.stdout is not None
            yield Sandbox(process.stdout.readline().split()[1], process)
        finally:
            process.terminate()


class Exporter:
    """An exporter with its configuration, its state and its log in `folder`. Started, killed and started again."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.address = free_address()
        self.url = f"http://{self.address}"
        self.state = folder / "state.db"
        self.config_file = folder / "config.yaml"
        self.program: tuple[str, ...] = ("exporter.py",)
        """What Python runs; another one behaves as another version or machine would."""
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        whole = {
            **EAGER,
            "state": {"url": f"sqlite:///{self.state}"},
            "web": {"listen_address": self.address},
            **config,
        }
        self.config_file.write_text(yaml.safe_dump(whole))

    @property
    def command(self) -> list[str]:
        return [sys.executable, *self.program, "run", f"--config.file={self.config_file}"]

    def run(self, command: str = "run", prefix: Sequence[str] = ()) -> tuple[int, list[str]]:
        """Run a command with this configuration that is to end by itself: its exit code and what it said."""
        return run(command, f"--config.file={self.config_file}", prefix=prefix)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "exporter.log").read_text()

    def start(
        self, *, wait_until_ready: bool = False, prefix: Sequence[str] = (), stderr: int | None = None
    ) -> None:
        """Start and wait until it answers scrapes. `stderr` is a descriptor to log to, by default the file `log`."""
        with (self.folder / "exporter.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *self.command],
                stdout=log,
                stderr=log if stderr is None else stderr,
                cwd=REPOSITORY,
            )
        path = "/-/ready" if wait_until_ready else "/-/healthy"
        until(lambda: ready(self.url + path) or self._has_ended(), START_S)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def kill_in_a_commit(self, after_s: float) -> None:
        """kill -9, `after_s` after the next write to the state has begun."""
        log = self.state.with_name(f"{self.state.name}-wal")

        def written() -> tuple[int, int]:
            status = log.stat()
            return status.st_size, status.st_mtime_ns

        before = written()
        deadline = time.monotonic() + START_S
        while written() == before:
            assert time.monotonic() < deadline, "nothing is written"
        end = time.perf_counter() + after_s
        while time.perf_counter() < end:
            pass
        self.kill()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after SIGTERM, or another signal."""
        return self._end(number)

    def end_whatever_happens(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def scrape(self, **headers: str) -> str:
        answer = HTTP.get(f"{self.url}/metrics", headers=headers, timeout=5.0)
        assert answer.status_code == 200
        return answer.text

    def counts(self) -> Counts:
        return read_counts(self.scrape())

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(10)
        self._process = None
        return code

    def _has_ended(self) -> bool:
        assert self._process is None or self._process.poll() is None, self.log
        return False


def run(*words: str, prefix: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Run a command of the exporter that is to end by itself: its exit code and what it said, a line each."""
    command = [*prefix, sys.executable, "exporter.py", *words]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60.0, check=False
    )
    return result.returncode, (result.stdout + result.stderr).splitlines()


def wrong(exporter: Exporter, api: Sandbox, *feed: str) -> list[str]:
    """What is shown wrongly: of all, or of one feed, by its account and channel."""
    if not feed:
        return difference(exporter.counts(), api.truth())
    account, channel = feed
    labels = {("account", account), ("channel", channel)}
    shown = {key: number for key, number in exporter.counts().items() if labels <= key[1]}
    truth = api.control("GET", "truth", account=account, channel=channel)
    return difference(shown, true_counts(truth, account, channel))


def wait_for_truth(exporter: Exporter, api: Sandbox, *feed: str, within_s: float = 75.0) -> None:
    """Wait until the traffic has ended and the exporter shows the truth of it."""
    until(lambda: api.now_ms() > api.quiet_from_ms)
    deadline = time.monotonic() + within_s
    while found := wrong(exporter, api, *feed):
        assert time.monotonic() < deadline, "\n".join([*found, exporter.log[-3000:]])
        time.sleep(0.2)


def account(of: Sandbox, **more: Any) -> dict[str, Any]:
    """An account of a configuration; a key that is None is left out."""
    keys = {
        "name": "demo",
        "base_url": of.base_url,
        "api_key": "sandbox-key",
        "requests_per_minute": 6000,
        **more,
    }
    return {key: value for key, value in keys.items() if value is not None}
