"""The exporter and the log it reads, each in a process of its own, and what they have used so far."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parents[1]
START_S = 20.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

CONFIG = """
accounts:
  - {{name: bench, base_url: "{log}", api_key: {key}, requests_per_minute: {requests_per_minute}}}
poll: {{interval: {interval}, lookback: {lookback}, timeout: 5m}}
metrics: {{zero_hold: 0s}}
state: {{url: "{state_url}"}}
web: {{listen_address: "{address}"}}
"""


@dataclass(frozen=True, slots=True)
class Running:
    """An exporter with its first question put and not answered yet; `open` lets the log answer."""

    process: subprocess.Popen[bytes]
    log_url: str
    url: str
    state: Path
    log: Path

    def open(self) -> None:
        httpx.get(f"{self.log_url}/bench/open")

    def scrape(self) -> str:
        return httpx.get(f"{self.url}/metrics", timeout=60.0).text

    def cpu_s(self) -> float:
        """User and system time of the whole exporter."""
        return cpu_s(self.process.pid)

    def memory_mib(self, what: str) -> float:
        """`VmHWM` (the most there was) or `VmRSS` (now)."""
        return memory_mib(self.process.pid, what)

    def state_bytes(self) -> int:
        """The database with its log and index, as they lie on the disk."""
        return sum(file.stat().st_size for file in self.state.parent.glob(f"{self.state.name}*"))


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_mib(pid: int, what: str) -> float:
    """`VmHWM` (the most there was) or `VmRSS` (now) of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{what}:\s*(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def sample(page: str, name: str) -> float:
    """The sum over all series of a name."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if re.match(rf"{name}[ {{]", line))


@contextmanager
def running(
    folder: Path,
    *,
    messages: int,
    hours: float,
    platforms: int = 7,
    interval: str = "30s",
    state_url: str = "",
) -> Iterator[Running]:
    """An exporter about to read `messages` sent in the last `hours`, its state at `state_url`, by default in `folder`."""
    server = [sys.executable, "-m", "bench.log_server", str(messages), str(hours), str(platforms)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as log:
        assert log.stdout is not None
        log_url = log.stdout.readline().strip()
        lookback_s = min(48 * 3600, int(hours * 3600) + 60)
        try:
            with exporter_on(
                log_url, folder, lookback_s=lookback_s, interval=interval, state_url=state_url
            ) as exporter:
                yield exporter
        finally:
            log.terminate()


@contextmanager
def exporter_on(
    log_url: str,
    folder: Path,
    *,
    lookback_s: int,
    interval: str = "30s",
    requests_per_minute: int = 6000,
    key: str = "bench",
    state_url: str = "",
) -> Iterator[Running]:
    """An exporter that reads the log at `log_url`, its state and its own log in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    address = free_address()
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            log=log_url,
            key=key,
            requests_per_minute=requests_per_minute,
            interval=interval,
            lookback=f"{lookback_s}s",
            state_url=state_url or f"sqlite:///{folder / 'state.db'}",
            address=address,
        )
    )
    command = [sys.executable, "exporter.py", f"--config.file={config}"]
    own_log = folder / "exporter.log"
    with (
        own_log.open("wb") as output,
        subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output) as process,
    ):
        try:
            url = f"http://{address}"
            wait(lambda: _answers(f"{url}/-/healthy"), START_S)
            yield Running(process, log_url, url, folder / "state.db", own_log)
        finally:
            process.terminate()
            process.wait()


def wait(holds: Callable[[], bool], within_s: float, every_s: float = 0.05) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"
