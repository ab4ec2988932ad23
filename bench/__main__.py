"""`make bench`: measure the exporter, with the same work done in parts beside it, and say which goals are reached.

ARGS="backlog quiet memory scrapes planning load attacks feeds replicas" picks parts. BENCH_BACKLOG, BENCH_MEMORY and BENCH_SCRAPES set
the numbers of messages, for a quick run; BENCH_ATTACKS="pipelined silent" picks attacks by their names in `bench/attacker.py`.
BENCH_FOLDER is where the state is kept meanwhile (default: a folder under /var/tmp, which is a real disk where /tmp may be none).
"""

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import attacks, backlog, load, many_feeds, memory, planning, quiet, replicas, scrapes
from bench.figures import Figure, table

Part = tuple[str, Callable[[Path], list[Figure]]]


def _messages(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def _parts() -> dict[str, Part]:
    read, kept, shown = (
        _messages("BENCH_BACKLOG", 500_000),
        _messages("BENCH_MEMORY", 10_000_000),
        _messages("BENCH_SCRAPES", 2_000_000),
    )
    return {
        "backlog": (f"Reading a backlog of {read:,} messages", lambda folder: backlog.measure(folder, read)),
        "quiet": ("A quiet account", quiet.measure),
        "memory": (f"{kept:,} messages in 48 h", lambda folder: memory.measure(folder, kept)),
        "scrapes": ("Scraping", lambda folder: scrapes.measure(folder, shown)),
        "planning": ("What to ask next", lambda _folder: planning.measure()),
        "load": ("Scraping in a crowd", load.measure),
        "attacks": ("Under attack, with 20,000 series", attacks.measure),
        "replicas": (
            "The ledger in PostgreSQL",
            lambda folder: replicas.measure(folder, min(read, 200_000), _messages("BENCH_FEEDS", 1000)),
        ),
        "feeds": ("A thousand feeds in one process", many_feeds.measure),
    }


def main() -> int:
    parts = _parts()
    wanted = sys.argv[1:] or list(parts)
    if unknown := set(wanted) - set(parts):
        print(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {_processor()}\n", flush=True)
    if os.getloadavg()[0] > 1:
        print(
            f"Others keep this machine busy (load {os.getloadavg()[0]:.1f}): all times are too long.\n",
            flush=True,
        )
    missed = 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER", "/var/tmp")) as folder:  # noqa: S108
        for name in wanted:
            title, measure = parts[name]
            figures = measure(Path(folder))
            missed += sum(figure.verdict == "MISSED" for figure in figures)
            print(table(title, figures), flush=True)
    return 1 if missed else 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


sys.exit(main())
