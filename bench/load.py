"""`/metrics` in a crowd: slow clients, many scrapes at once, broken requests; ours and prometheus-node-exporter's.

Both get the same in the same run, one after the other, each with nothing else to do. Where the machine has no
prometheus-node-exporter (Debian: apt install prometheus-node-exporter), ours is measured alone.
"""

import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.crowd import Scrape, scrape, scrapes_at_once, send_broken_requests, slow_clients
from bench.figures import Figure
from bench.running import Running, cpu_s, free_address, memory_mib, running, sample, wait

SLOW = 1000
AT_ONCE = 200
SCRAPES = 60
PAUSE_S = 0.05
MESSAGES = 3000
"""As many, over 40 entities and applications, make a page about as large as node_exporter's."""
PLATFORMS = 20

GOAL_MS = 250.0
GOAL_MIB = 64.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one program. Times of scrapes are in ms."""

    page_kib: float
    calm: list[float]
    crowded: list[float]
    broken: list[float]
    without_page: int
    at_once: list[float]
    """Of those that got their page."""
    before_mib: float
    most_mib: float
    cpu_s: float


def measure(folder: Path) -> list[Figure]:
    with _quiet_exporter(folder) as exporter:
        polls_before, began = _polls(exporter), time.monotonic()
        ours = _measured(_address(exporter.url), exporter.process.pid)
        from_poll_to_poll_s = (time.monotonic() - began) / (_polls(exporter) - polls_before)
    theirs = None
    if shutil.which("prometheus-node-exporter"):
        with _node_exporter() as (url, pid):
            theirs = _measured(_address(url), pid)
    else:
        print("prometheus-node-exporter is not on this machine: ours alone\n", file=sys.stderr)

    def figure(name: str, unit: str, of: Callable[[Measured], float], goal: float | None = None) -> Figure:
        beside = f"node_exporter: {of(theirs):,.4g} {unit}" if theirs else ""
        return Figure(name, of(ours), unit, goal, beside)

    return [
        figure("size of the page", "KiB", lambda each: each.page_kib),
        figure("a scrape, nobody else there: median", "ms", lambda each: statistics.median(each.calm)),
        figure(f"a scrape among {SLOW:,} slow clients: median", "ms",
               lambda each: statistics.median(each.crowded), GOAL_MS),
        figure("the same: worst", "ms", lambda each: max(each.crowded)),
        figure("a scrape among broken and huge requests too: median", "ms",
               lambda each: statistics.median(each.broken), GOAL_MS),
        figure("the same: worst", "ms", lambda each: max(each.broken)),
        figure("single scrapes that got no page", "of 180", lambda each: each.without_page, 0),
        figure(f"{AT_ONCE} scrapes at once among them: the last page", "ms", lambda each: max(each.at_once)),
        figure("of these, without a page", "scrapes", lambda each: AT_ONCE - len(each.at_once), 0),
        figure("memory before (VmRSS)", "MiB", lambda each: each.before_mib),
        figure("memory at its most (VmHWM)", "MiB", lambda each: each.most_mib),
        figure("memory grown by all this", "MiB", lambda each: each.most_mib - each.before_mib, GOAL_MIB),
        figure("CPU for all this", "s", lambda each: each.cpu_s),
        Figure("from poll to poll meanwhile, 1 s asked for", from_poll_to_poll_s, "s", 1.2),
    ]  # fmt: skip


def _measured(address: tuple[str, int], pid: int) -> Measured:
    before_mib, cpu_before_s = memory_mib(pid, "VmRSS"), cpu_s(pid)
    calm = [scrape(address) for _ in range(SCRAPES)]
    with slow_clients(address, SLOW):
        crowded = _scrapes(address)
        with _broken_requests(address):
            broken = _scrapes(address)
        at_once = scrapes_at_once(address, AT_ONCE)
    return Measured(
        page_kib=calm[0].size / 1024,
        calm=_times_ms(calm),
        crowded=_times_ms(crowded),
        broken=_times_ms(broken),
        without_page=sum(not each.answered for each in [*calm, *crowded, *broken]),
        at_once=_times_ms([each for each in at_once if each.answered]),
        before_mib=before_mib,
        most_mib=memory_mib(pid, "VmHWM"),
        cpu_s=cpu_s(pid) - cpu_before_s,
    )


def _scrapes(address: tuple[str, int]) -> list[Scrape]:
    found = []
    for _ in range(SCRAPES):
        found.append(scrape(address))
        time.sleep(PAUSE_S)
    return found


def _times_ms(scrapes: list[Scrape]) -> list[float]:
    return [each.took_s * 1000 for each in scrapes]


@contextmanager
def _broken_requests(address: tuple[str, int]) -> Iterator[None]:
    """One after the other for as long as this lasts."""
    ending = threading.Event()

    def send() -> None:
        while not ending.wait(PAUSE_S):
            send_broken_requests(address, 1)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield
    finally:
        ending.set()
        sending.join()


@contextmanager
def _quiet_exporter(folder: Path) -> Iterator[Running]:
    """Ours, with everything read, polling each second."""
    with running(
        folder / "load", messages=MESSAGES, hours=1.0, platforms=PLATFORMS, interval="1s"
    ) as exporter:
        exporter.open()
        wait(lambda: sample(exporter.scrape(), "infobip_messages_sent_total") == MESSAGES, 60.0)
        yield exporter


@contextmanager
def _node_exporter() -> Iterator[tuple[str, int]]:
    """Its URL and process."""
    address = free_address()
    command = ["prometheus-node-exporter", f"--web.listen-address={address}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait(lambda: scrape(_address(f"http://{address}")).answered, 10.0)
            yield f"http://{address}", process.pid
        finally:
            process.terminate()


def _polls(exporter: Running) -> float:
    return sample(exporter.scrape(), "infobip_exporter_api_requests_total")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port
