"""The ledger in PostgreSQL: its cost beside SQLite's, and a thousand feeds on one, two and four replicas."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import yaml

from bench.backlog import read_all
from bench.figures import Figure
from bench.running import REPOSITORY, cpu_s, free_address, memory_mib, running, sample, wait
from infobip_sandbox.postgres import Postgres, postgres

HOURS = 12.0
RATIO_GOAL = 1.5
STATEMENTS_GOAL = 3.0
INTERVAL_S = 30.0
LEASE_S = 15.0
WATCHED_S = 60.0
ON_DISK = ()
"""Settings of a server as it is installed: commits wait for the disk."""


def measure(folder: Path, messages: int, feeds: int) -> list[Figure]:
    with postgres(ON_DISK) as server:
        figures = [*_backlog(folder, server, messages), _quiet(folder, server)]
        for replicas in (1, 2, 4):
            figures += _many(folder, server, feeds, replicas)
    return figures


def _backlog(folder: Path, server: Postgres, messages: int) -> Iterator[Figure]:
    """CPU of the exporter for a backlog, on either store, one after the other."""
    server.run("CREATE DATABASE backlog")
    used: dict[str, float] = {}
    for store, url in (("sqlite", ""), ("postgresql", server.url("backlog"))):
        with running(folder / f"on-{store}", messages=messages, hours=HOURS, state_url=url) as exporter:
            before_s = exporter.cpu_s()
            read_all(exporter, messages, within_s=120.0 + messages / 5_000)
            used[store] = (exporter.cpu_s() - before_s) * 1_000_000 / messages
    yield Figure("a backlog on SQLite", used["sqlite"], "CPU s / million")
    yield Figure("the same on PostgreSQL, in the exporter", used["postgresql"], "CPU s / million")
    yield Figure("PostgreSQL to SQLite", used["postgresql"] / used["sqlite"], "x", RATIO_GOAL)


def _quiet(folder: Path, server: Postgres) -> Figure:
    """Statements of a poll of a quiet feed, those of the lease taken off."""
    with _log() as log_url, _replicas(folder / "quiet-feed", server, log_url, 1, 1, "1s") as started:
        [(exporter, log)] = started
        wait(lambda: _polls(log) > 5, 60)
        before, polls, began_s = _statements(server, "quiet_feed"), _polls(log), time.monotonic()
        time.sleep(30)
        statements = _statements(server, "quiet_feed") - before
        polled, passed_s = _polls(log) - polls, time.monotonic() - began_s
        assert exporter.poll() is None
    of_lease = passed_s * (1 / 0.5 + 5 / (LEASE_S / 3))
    return Figure(
        "statements for a poll of a quiet feed", (statements - of_lease) / polled, "", STATEMENTS_GOAL
    )


def _many(folder: Path, server: Postgres, feeds: int, replicas: int) -> Iterator[Figure]:
    """Many feeds, each with a message now and then, on some replicas."""
    name = f"feeds-{replicas}"
    on = f"{feeds:,} feeds on {replicas} replica{'s' if replicas > 1 else ''}"
    with _log() as log_url, _replicas(folder / name, server, log_url, feeds, replicas) as started:
        processes = [process for process, _ in started]
        wait(lambda: sum(_polls(log) for _, log in started) >= 2 * feeds, 300, 1.0)
        database = name.replace("-", "_")
        statements, wal = _statements(server, database), _wal(server)
        used_s, began_s = [cpu_s(each.pid) for each in processes], time.monotonic()
        time.sleep(WATCHED_S)
        passed_s = time.monotonic() - began_s
        used_s = [cpu_s(each.pid) - used for each, used in zip(processes, used_s, strict=True)]
        yield Figure(f"{on}: statements", (_statements(server, database) - statements) / passed_s, "/ s")
        yield Figure(f"{on}: WAL", (_wal(server) - wal) / passed_s / 1024, "KiB / s")
        yield Figure(f"{on}: CPU of a replica", max(used_s) * 60 / passed_s, "s / min")
        memory = max(memory_mib(each.pid, "VmHWM") for each in processes)
        yield Figure(f"{on}: memory of a replica at its most", memory, "MiB")
        if replicas > 1:
            yield Figure(
                f"{on}: feeds owned again after a kill", _killed(started, feeds), "s", LEASE_S + INTERVAL_S
            )


def _killed(started: Sequence[tuple[subprocess.Popen[bytes], Path]], feeds: int) -> float:
    """Seconds from the death of one replica until the others own all feeds."""
    first, others = started[0][0], started[1:]
    first.kill()
    began_s = time.monotonic()
    urls = [_url(log) for _, log in others]

    def owned() -> float:
        return sum(
            sample(httpx.get(f"{url}/metrics", timeout=60.0).text, 'infobip_exporter_feeds{state="owned"}')
            for url in urls
        )

    wait(lambda: owned() >= feeds, 120, 0.5)
    return time.monotonic() - began_s


@contextmanager
def _log() -> Iterator[str]:
    server = [sys.executable, "-m", "bench.log_server", "10000", "1", "7"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as log:
        assert log.stdout is not None
        url = log.stdout.readline().strip()
        httpx.get(f"{url}/bench/open")
        try:
            yield url
        finally:
            log.terminate()


@contextmanager
def _replicas(
    folder: Path, server: Postgres, log_url: str, feeds: int, replicas: int, interval: str = ""
) -> Iterator[list[tuple[subprocess.Popen[bytes], Path]]]:
    """Replicas on a database of their own, each with the log that it writes."""
    folder.mkdir()
    database = folder.name.replace("-", "_")
    server.run(f"CREATE DATABASE {database}")
    with ExitStack() as ends:
        started = []
        for number in range(replicas):
            config = folder / f"config-{number}.yaml"
            config.write_text(
                yaml.safe_dump(
                    {
                        "accounts": [
                            {"name": f"account-{each}", "base_url": log_url, "api_key": "bench"}
                            for each in range(feeds)
                        ],
                        "poll": {"interval": interval or f"{INTERVAL_S:.0f}s", "lookback": "0s"},
                        "state": {"url": server.url(database), "lease": f"{LEASE_S:.0f}s"},
                        "web": {"listen_address": free_address()},
                    }
                )
            )
            log = folder / f"exporter-{number}.log"
            output = ends.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [sys.executable, "exporter.py", f"--config.file={config}"],
                cwd=REPOSITORY,
                stdout=output,
                stderr=output,
            )
            ends.callback(process.wait)
            ends.callback(process.terminate)
            started.append((process, log))
        yield started


def _url(log: Path) -> str:
    found = re.search(r"msg=listening address=(\S+)", log.read_text())
    assert found
    return f"http://{found[1]}"


def _polls(log: Path) -> int:
    return len(re.findall(r"msg=poll ", log.read_text()))


def _statements(server: Postgres, database: str) -> int:
    """Committed transactions so far: outside of a migration each statement is one."""
    time.sleep(1.5)  # a server's own figures are a second late
    [(count,)] = server.run(f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{database}'")
    assert isinstance(count, int)
    return count


def _wal(server: Postgres) -> float:
    [(position,)] = server.run("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
    return float(str(position))
