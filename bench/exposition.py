"""How long the metrics page takes with many series: ours and prometheus_client's, idle and beside busy Python.

Run it as `python -m bench.exposition [series]`.
"""

import gzip
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import labels_of
from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.render import Feed, Renderer
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.model.series import Series
from infobip_exporter.web.app import GZIP_LEVEL

ROUNDS = 30
STATUSES = ("DELIVERED", "REJECTED", "UNDELIVERABLE", "EXPIRED", "PENDING")
FAMILIES = (catalog.SENT, catalog.MESSAGES, catalog.UNRESOLVED, catalog.PARTS, catalog.COST)


def snapshot(series: int, generation: int) -> FeedSnapshot:
    """A feed of `series` counters; another `generation` has other numbers."""
    counters: dict[Series, int | Decimal] = {}
    for i in range(series):
        family = FAMILIES[i % len(FAMILIES)]
        words = {"general_status": STATUSES[i % 5], "error_group": "OK", "currency": "EUR"}
        words |= {
            "entity_id": f"promotional-traffic-entity-{i // 25}",
            "application_id": f"application-{i // 5 % 5}",
        }
        value = (
            Decimal(i + generation) * Decimal("0.00787679") if family is catalog.COST else i * 7 + generation
        )
        counters[Series(family.name, tuple((label, words[label]) for label in labels_of(family)))] = value
    return FeedSnapshot("main", "instagram", counters=counters, up=True, requests_per_minute=100)


class ClientLibrary(Collector):
    """The same counters given to prometheus_client's collector interface."""

    def __init__(self, feed: FeedSnapshot) -> None:
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            metric = CounterMetricFamily(
                family.name, family.help, labels=("account", "channel", *labels_of(family))
            )
            for series, value in self._feed.counters.items():
                if series.family == family.name:
                    metric.add_metric(
                        ("main", "instagram", *(value for _, value in series.labels)), float(value)
                    )
            yield metric


def measured(name: str, act: Callable[[int], object]) -> None:
    act(0)
    wall, cpu = [], []
    for generation in range(ROUNDS):
        began, began_cpu = time.perf_counter(), time.thread_time()
        act(generation % 2)
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((time.thread_time() - began_cpu) * 1000)
    print(
        f"{name:<42} {statistics.median(wall):8.1f} {max(wall):8.1f} {statistics.median(cpu):8.1f}",
        flush=True,
    )


def main() -> None:
    series = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    feeds = [snapshot(series, generation) for generation in (0, 1)]
    start = Moment(time.time(), time.monotonic())
    released = ZeroStart(60, feeds[0].counters)
    renderer = Renderer("bench", Process())
    registry = CollectorRegistry()
    registry.register(ClientLibrary(feeds[0]))

    def ours(generation: int) -> bytes:
        return renderer.render([Feed(feeds[generation], released)], start).body

    def zipped(generation: int) -> bytes:
        return gzip.compress(ours(generation), GZIP_LEVEL)

    print(f"{series} series, {len(ours(0)) / 1e6:.1f} MB, gzip {len(zipped(0)) / 1e3:.0f} kB")
    print(f"{'':<42} {'median':>8} {'worst':>8} {'CPU':>8} ms")
    measured(
        "first page, all series new",
        lambda _: Renderer("bench", Process()).render([Feed(feeds[0], released)], start),
    )
    measured("plain", ours)
    measured("gzip", zipped)
    measured("prometheus_client, plain", lambda _: generate_latest(registry))
    busy = threading.Event()
    busy.set()

    def work() -> None:
        while busy.is_set():
            sum(range(1000))

    threading.Thread(target=work, daemon=True).start()
    measured("plain, beside a busy thread", ours)
    measured("gzip, beside a busy thread", zipped)
    busy.clear()


if __name__ == "__main__":
    main()
