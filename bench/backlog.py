"""CPU and requests for reading a backlog, and beside it what parts of the work take by themselves."""

import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path

import msgspec

from bench.figures import Figure
from bench.log_server import PENDING_EVERY, BenchLog, bench_log
from bench.running import Running, running, sample, wait

HOURS = 12.0
PAGE = 1000
CPU_GOAL_S = 8.0
SQLITE = "an id for each message into SQLite, 1000 a commit"
RATIO_GOAL = 0.75
"""The most of SQLite's CPU time for these ids, in the same run, that the exporter may take."""
REQUESTS_GOAL = 1.3


def measure(folder: Path, messages: int) -> list[Figure]:
    """Read `messages` as fast as the exporter can, then do the parts of it on the same rows."""
    log = bench_log(messages, HOURS, 7)
    whole_s, requests = _exporter(folder, messages)
    per_million = 1_000_000 / messages
    ours = whole_s * per_million
    unit = "CPU s / million"
    figures = [
        Figure("the exporter: read, decoded, counted, committed", ours, unit, CPU_GOAL_S),
        Figure("requests for a thousand messages", requests / messages * 1000, "", REQUESTS_GOAL),
    ]
    for name, cpu_s in _parts(folder, log):
        figures.append(
            Figure(name, cpu_s * per_million, unit, beside=f"exporter takes {whole_s / cpu_s:.2f} x")
        )
        if name == SQLITE:
            figures.append(Figure("the exporter's CPU to SQLite's", whole_s / cpu_s, "x", RATIO_GOAL))
    return figures


def _exporter(folder: Path, messages: int) -> tuple[float, float]:
    """CPU seconds and requests from the first answer to the last."""
    with running(folder / "backlog", messages=messages, hours=HOURS) as exporter:
        before_s = exporter.cpu_s()
        read_all(exporter, messages, within_s=120.0 + messages / 10_000)
        return exporter.cpu_s() - before_s, sample(exporter.scrape(), "infobip_exporter_api_requests_total")


def read_all(exporter: Running, messages: int, within_s: float, every_s: float = 0.5) -> None:
    """Let it read until everything has been counted; AssertionError where a message is missing or one too many."""
    exporter.open()
    wait(lambda: sample(exporter.scrape(), "infobip_messages_sent_total") >= messages, within_s, every_s)
    page = exporter.scrape()
    assert sample(page, "infobip_messages_sent_total") == messages
    pending = sample(page, "infobip_messages_in_flight") + sample(page, "infobip_messages_unresolved_total")
    assert pending == -(-messages // PENDING_EVERY), page


def _parts(folder: Path, log: BenchLog) -> Iterator[tuple[str, float]]:
    starts = range(0, log.messages, PAGE)
    pages = (log.page(range(start, min(start + PAGE, log.messages)), PAGE) for start in starts)
    yield "typed msgspec alone, the same pages", _decoding(pages)
    ids = (_id(log.row(number)) for number in range(log.messages))
    yield SQLITE, _inserting(folder / "ids.db", ids)
    rows = folder / "rows.log"
    with rows.open("wb") as file:
        for number in range(log.messages):
            file.write(log.row(number) + b"\n")
    yield "counting the rows as lines by a regular expression, Python's re", _matching(rows)
    if shutil.which("mtail"):
        yield "counting the rows as lines by a regular expression, mtail", _mtail(folder, rows, log.messages)
    rows.unlink()


class _Group(msgspec.Struct, rename="camel", gc=False):
    group_name: str | None = None


class _Price(msgspec.Struct, rename="camel", gc=False):
    price_per_message: Decimal | None = None
    currency: str | None = None


class _Platform(msgspec.Struct, rename="camel", gc=False):
    entity_id: str | None = None
    application_id: str | None = None


class _Row(msgspec.Struct, rename="camel", gc=False):
    """What the exporter needs of a row."""

    message_id: str | None = None
    sent_at: str | None = None
    done_at: str | None = None
    message_count: int | None = None
    sender: str | None = None
    status: _Group | None = None
    error: _Group | None = None
    price: _Price | None = None
    platform: _Platform | None = None


class _Rows(msgspec.Struct):
    results: list[_Row]


def _decoding(pages: Iterable[bytes]) -> float:
    decode = msgspec.json.Decoder(_Rows).decode
    cpu_s = 0.0
    for page in pages:
        began = time.process_time()
        decode(page)
        cpu_s += time.process_time() - began
    return cpu_s


def _inserting(path: Path, ids: Iterable[str]) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE seen (message_id TEXT PRIMARY KEY) WITHOUT ROWID")
    cpu_s = 0.0
    todo = iter(ids)
    while some := [(each,) for each in islice(todo, PAGE)]:
        began = time.process_time()
        connection.execute("BEGIN")
        connection.executemany("INSERT OR IGNORE INTO seen VALUES (?)", some)
        connection.execute("COMMIT")
        cpu_s += time.process_time() - began
    connection.close()
    return cpu_s


def _id(row: bytes) -> str:
    return row.partition(b'"messageId":"')[2].partition(b'"')[0].decode()


_LINE = re.compile(
    r'"groupName":"([A-Z]+)".*"groupName":"([A-Z_]+)".*"entityId":"([^"]*)","applicationId":"([^"]*)"'
)


def _matching(rows: Path) -> float:
    counted: Counter[tuple[str, ...]] = Counter()
    began = time.process_time()
    with rows.open(encoding="utf-8") as lines:
        for line in lines:
            if found := _LINE.search(line):
                counted[found.groups()] += 1
    cpu_s = time.process_time() - began
    assert counted.total() > 0
    return cpu_s


_PROGRAM = r"""
counter messages_total by status, error, entity, application
/"groupName":"(?P<status>[A-Z]+)".*"groupName":"(?P<error>[A-Z_]+)".*"entityId":"(?P<entity>[^"]*)","applicationId":"(?P<application>[^"]*)"/ {
  messages_total[$status][$error][$entity][$application]++
}
"""


def _mtail(folder: Path, rows: Path, messages: int) -> float:
    """What a real log tailer takes for the same lines, its start included."""
    program = folder / "count.mtail"
    program.write_text(_PROGRAM)
    command = ["mtail", "--one_shot", "--one_shot_format=prometheus", f"--progs={program}", f"--logs={rows}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    counted = sum(
        float(line.rsplit(" ", 1)[1]) for line in told.splitlines() if line.startswith("messages_total{")
    )
    assert counted == messages, f"mtail counted {counted} of {messages} lines"
    return used.ru_utime + used.ru_stime
