"""What planning costs: the requests of a poll, with 48 h of cells at 600 messages a second."""

import sys
import time
from random import Random

import numpy as np

from bench.figures import Figure, table
from infobip_exporter.model.cells import COLUMNS, Cells
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.planning.planner import Planner
from infobip_exporter.planning.settling import SettlingTimes
from infobip_exporter.planning.situation import Situation

PER_SECOND = 600
PAGE_ROWS = 930
POLLS = 20
NOW_MS = 1_790_000_000_000


def cells_of_48_h(in_flight: int) -> Cells:
    """Cells of a page each; those of the last two minutes are provisional, and each has some messages in flight."""
    length_ms = PAGE_ROWS * 1000 // PER_SECOND
    count = LOG_KEEPS_MS // length_ms
    rows = np.zeros(count, COLUMNS)
    rows["since_ms"] = NOW_MS - length_ms * np.arange(count, 0, -1)
    rows["until_ms"] = rows["since_ms"] + length_ms
    rows["messages"] = PAGE_ROWS
    rows["in_flight"] = in_flight
    rows["oldest_in_flight_ms"] = rows["since_ms"]
    age_ms = NOW_MS - rows["until_ms"]
    rows["read_ms"] = rows["looked_ms"] = NOW_MS - (age_ms * np.random.default_rng(1).random(count)).astype(
        np.int64
    )
    rows["final"] = age_ms > 120_000
    rows["auditable"] = True
    return Cells.of(rows)


def measure() -> list[Figure]:
    settling = SettlingTimes().observed(np.random.default_rng(1).lognormal(np.log(7200), 0.5, 20_000))
    figures = []
    for in_flight in (3, 300):
        situation = Situation(
            now_ms=NOW_MS,
            latest_ms=NOW_MS + 1000,
            watermark_ms=NOW_MS - 30_000,
            requests_per_minute=100,
            interval_s=30,
            late_arrival_s=120,
            cells=cells_of_48_h(in_flight),
            settling=settling,
            rows_per_s=PER_SECOND,
            failures_per_s={"REJECTED": 12.0, "UNDELIVERABLE": 12.0, "EXPIRED": 6.0},
        )
        planner = Planner(Random(1))
        requests = 0
        slowest_s = 0.0
        began_s = time.process_time()
        for _ in range(POLLS):
            requests += len(planner.head(situation))
            for left in range(30, 0, -1):
                before_s = time.process_time()
                requests += planner.next_request(situation, left, ()) is not None
                slowest_s = max(slowest_s, time.process_time() - before_s)
        each_ms = (time.process_time() - began_s) * 1000 / requests
        cells = f"{len(situation.cells):,} cells with {in_flight} in flight each"
        figures += [
            Figure(f"planning a request, {cells}", each_ms, "ms", 5),
            Figure("the slowest of a poll, which reckons anew", slowest_s * 1000, "ms"),
        ]
    return figures


if __name__ == "__main__":
    figures = measure()
    print(table("Planning", figures))
    sys.exit(any(figure.verdict == "MISSED" for figure in figures))
