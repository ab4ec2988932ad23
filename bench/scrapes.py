"""How long a scrape of many series takes over HTTP, at rest and while a backlog is read flat out."""

import gzip
import http.client
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import Figure
from bench.running import Running, running, sample, wait

SERIES = 10_000
PLATFORMS = 450
"""So many entities and applications make as many series."""
HOURS = 12.0
GOAL_MS = 60.0
ROUNDS = 30
PAUSE_S = 0.25
"""Longer than the exporter leaves between two pages that it renders (web/rendering.py)."""


def measure(folder: Path, messages: int) -> list[Figure]:
    with running(folder / "scrapes", messages=messages, hours=HOURS, platforms=PLATFORMS) as exporter:
        exporter.open()
        wait(lambda: _series(exporter) >= SERIES, 60.0)
        busy = _rounds(exporter)
        unread_s = sample(exporter.scrape(), "infobip_exporter_backlog_seconds")
        assert unread_s > 0, "the backlog ended before the scrapes did: measure with more messages"
        wait(lambda: sample(exporter.scrape(), "infobip_exporter_backlog_seconds") == 0, 900.0, 0.5)
        idle = _rounds(exporter)
        series = _series(exporter)
    figures = []
    for when, (plain, zipped) in (("at rest", idle), ("while a backlog is read", busy)):
        for how, times in (("plain", plain), ("gzip", zipped)):
            name = f"/metrics of {series:,} series, {how}, {when}"
            figures.append(Figure(f"{name}: median", statistics.median(times), "ms", GOAL_MS))
            figures.append(Figure(f"{name}: p95", statistics.quantiles(times, n=20)[-1], "ms", GOAL_MS))
    return figures


def _series(exporter: Running) -> int:
    return sum(line.startswith("infobip_") for line in exporter.scrape().splitlines())


def _rounds(exporter: Running) -> tuple[list[float], list[float]]:
    """Milliseconds of plain and of zipped scrapes, in turns, from the request to the last byte."""
    times: tuple[list[float], list[float]] = ([], [])
    connection = http.client.HTTPConnection(urlsplit(exporter.url).netloc, timeout=60)
    for _ in range(ROUNDS):
        for encoding, taken in (("identity", times[0]), ("gzip", times[1])):
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
            body = connection.getresponse().read()
            taken.append((time.perf_counter() - began) * 1000)
            page = gzip.decompress(body) if encoding == "gzip" else body
            assert page.startswith(b"# HELP")
    connection.close()
    return times
