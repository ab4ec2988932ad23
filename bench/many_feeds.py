"""A thousand feeds in one process: memory, CPU and how late polls are. Each reads a log with a message now and then."""

import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import httpx
import yaml

from bench.figures import Figure
from bench.running import REPOSITORY, cpu_s, free_address, memory_mib, wait

FEEDS = 1000
INTERVAL_S = 30.0
WATCHED_S = 90.0
LATE_S = 2.0
GOAL_MIB = 400.0
GOAL_CPU_S = 30.0


def measure(folder: Path, feeds: int = FEEDS) -> list[Figure]:
    folder = folder / "many-feeds"
    folder.mkdir()
    server = [sys.executable, "-m", "bench.log_server", "10000", "1", "7"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as log:
        assert log.stdout is not None
        url = log.stdout.readline().strip()
        httpx.get(f"{url}/bench/open").raise_for_status()
        try:
            return _measured(folder, url, feeds)
        finally:
            log.terminate()


def _measured(folder: Path, url: str, feeds: int) -> list[Figure]:
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "accounts": [
                    {"name": f"account-{number}", "base_url": url, "api_key": "bench"}
                    for number in range(feeds)
                ],
                "poll": {"interval": f"{INTERVAL_S:.0f}s", "lookback": "0s"},
                "state": {"url": f"sqlite:///{folder / 'state.db'}"},
                "web": {"listen_address": free_address()},
            }
        )
    )
    own_log = folder / "exporter.log"
    with (
        own_log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "exporter.py", f"--config.file={config}"],
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            wait(lambda: len(_polls(own_log)) >= feeds, 180.0, 1.0)
            before_s, began_s = cpu_s(process.pid), time.monotonic()
            time.sleep(WATCHED_S)
            minutes = (time.monotonic() - began_s) / 60
            used_s = cpu_s(process.pid) - before_s
            memory = memory_mib(process.pid, "VmHWM")
            threads = len(list(Path(f"/proc/{process.pid}/task").iterdir()))
            began_s = time.monotonic()
        finally:
            process.terminate()
            process.wait()
    ended_s = time.monotonic() - began_s
    apart = _apart_s(own_log)
    late = sum(each > INTERVAL_S + LATE_S for each in apart)
    return [
        Figure("memory at its most (VmHWM)", memory, "MiB", GOAL_MIB),
        Figure("threads", threads, ""),
        Figure("CPU a minute", used_s / minutes, "s", GOAL_CPU_S),
        Figure(f"of {len(apart):,} polls, late by more than {LATE_S:g} s", late, "", 0),
        Figure("from poll to poll at most", max(apart), "s"),
        Figure("the end", ended_s, "s", 5.0),
    ]


def _polls(log: Path) -> list[tuple[str, str]]:
    """Moment and account of each poll so far."""
    return re.findall(r"^ts=(\S+) .*msg=poll account=(\S+)", log.read_text(), re.MULTILINE)


def _apart_s(log: Path) -> list[float]:
    """The seconds from each poll of an account to its next."""
    last: dict[str, datetime] = {}
    apart: list[float] = []
    for moment, account in _polls(log):
        ended = datetime.fromisoformat(moment)
        if account in last:
            apart.append((ended - last[account]).total_seconds())
        last[account] = ended
    return apart
