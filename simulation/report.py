"""`python -m simulation.report`: what exact counts cost in requests, and how fresh they are, at growing rates."""

import argparse
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from simulation.measure import INTERVAL_S, Case, Measured, measure

QUICK_CASES = tuple(
    Case(rate, settle_s, warm_h, measured_h, scale)
    for rate, warm_h, measured_h, scale in (
        (0.1, 2.0, 8.0, 1),
        (1.0, 2.0, 4.0, 1),
        (10.0, 1.0, 2.0, 1),
        (100.0, 1.0, 2.0, 10),
        (1000.0, 1.0, 1.0, 20),
        (1500.0, 1.0, 1.0, 20),
        (1800.0, 1.0, 1.0, 20),
    )
    for settle_s in (2.0, 60.0)
)
LONG_CASES = tuple(
    Case(rate, 7200.0, warm_h, measured_h, scale)
    for rate, warm_h, measured_h, scale in (
        (0.1, 10.0, 10.0, 1),
        (1.0, 10.0, 4.0, 1),
        (10.0, 9.0, 1.0, 10),
        (100.0, 9.0, 1.0, 20),
        (1000.0, 20.0, 1.0, 20),
        (1500.0, 20.0, 1.0, 20),
        (1800.0, 20.0, 1.0, 20),
    )
)
HEAD = (
    "| messages a second | settle | requests a poll | fewest | ratio | counted p50 / p99 | outcome p50 / p99 | lag"
    " | state | naive: sent, outcomes |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation.report", description=__doc__)
    parser.add_argument("--rate", type=float, action="append", help="only this rate")
    parser.add_argument("--settle", type=float, action="append", help="only this settling time, in seconds")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")
    arguments = parser.parse_args()
    cases = sorted(
        case
        for case in map(_by_size, (*QUICK_CASES, *LONG_CASES))
        if (not arguments.rate or case[0] in arguments.rate)
        and (not arguments.settle or case[1] in arguments.settle)
    )
    began = time.monotonic()
    print(HEAD, flush=True)
    inexact = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for measured in pool.map(measure, [Case(*case) for case in cases]):
            print(line(measured), flush=True)
            inexact += not measured.exact
    print(f"\n{len(cases)} worlds, {inexact} not exact, {time.monotonic() - began:.0f} s")
    return 1 if inexact else 0


def _by_size(case: Case) -> tuple[float, float, float, float, int]:
    return case.per_second, case.settle_s, case.warm_h, case.measured_h, case.scale


def line(measured: Measured) -> str:
    case = measured.case
    grows = ", grows" if measured.backlog_grows else ""
    wrong = "" if measured.exact else " **not exact**"
    return (
        f"| {case.per_second:g} | {told(case.settle_s)} | {measured.requests:.2f} | {measured.fewest:.2f}"
        f" | {measured.requests / measured.fewest:.2f} | {_pair(measured.counted_s)}"
        f" | {_pair(measured.outcome_s)} | {told(measured.lag_s)}{grows} | {_size(measured.state_bytes)}"
        f" | {measured.naive_sent:.1%}, {measured.naive_outcomes:.1%} |{wrong}"
    )


def _pair(ages_s: tuple[float, float]) -> str:
    return " / ".join(map(told, ages_s))


def told(seconds: float) -> str:
    if math.isnan(seconds):
        return "none"
    if seconds < 4 * INTERVAL_S:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
