"""`python -m simulation.report`: how fresh the counts are at growing rates, and what that costs, beside the goals.

With `--set WEIGHT=4` a constant of the planning has another value: what it is good for is measured so.
"""

import argparse
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from simulation.measure import Case, Measured, Pair, measure

MINUTE_S, HOUR_S = 60.0, 3600.0
SOON: Pair = (20.0, 60.0)
FAILED_SOON: Pair = (30.0, 150.0)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a case should come to at most. Pairs of seconds: half of the messages, 99 % of them. None: no goal."""

    case: Case
    sent: Pair | None = SOON
    settled: Pair | None = None
    failed: Pair | None = None
    requests: float | None = None
    backlog: tuple[float, float] | None = None
    """Minutes, and requests in pages of its messages."""


def _hours(per_second: float, scale: int, settled: Pair, failed: Pair | None) -> Goal:
    """Messages that settle after hours: until most of the first ones have, the run warms up."""
    case = Case(per_second, 2 * HOUR_S, 6.5, 1.0, scale)
    return Goal(case, settled=settled, failed=failed)


GOALS = (
    _hours(300, 20, (HOUR_S, 4 * HOUR_S), None),
    _hours(100, 20, (15 * MINUTE_S, 75 * MINUTE_S), (3 * MINUTE_S, 35 * MINUTE_S)),
    _hours(10, 2, (210.0, 15 * MINUTE_S), (30.0, 12 * MINUTE_S)),
    Goal(Case(0.1, 2, 3, 3), settled=SOON, failed=FAILED_SOON, requests=1.1),
    Goal(Case(1, 2, 3, 1), settled=SOON, failed=FAILED_SOON, requests=1.1),
    Goal(Case(10, 2), settled=SOON, failed=FAILED_SOON),
    Goal(Case(100, 2, scale=2), settled=SOON, failed=FAILED_SOON),
    Goal(Case(600, 2, scale=10), settled=SOON, failed=FAILED_SOON),
    Goal(Case(600, 2, scale=10, all_fail=True), settled=SOON, failed=FAILED_SOON),
    Goal(Case(100, 2, scale=2, burst=10), sent=(20.0, 75.0)),
    Goal(Case(300, 2, 0.5, 0.5, scale=10, answer_s=4.0), sent=(30.0, 60.0)),
    Goal(Case(1, 60, 3, 2), settled=SOON, failed=FAILED_SOON, requests=1.1),
    Goal(Case(10, 60), settled=SOON, failed=FAILED_SOON),
    Goal(Case(100, 60, scale=2), settled=SOON, failed=FAILED_SOON),
    Goal(Case(300, 60, scale=10), settled=(40.0, 240.0), failed=FAILED_SOON),
    Goal(Case(600, 60, scale=10), failed=FAILED_SOON),
    Goal(Case(1000, 2, 2.5, scale=20), sent=(180.0, 300.0), failed=(180.0, 240.0)),
    Goal(Case(1000, 60, 2.5, scale=20), sent=(300.0, 300.0), failed=(180.0, 240.0)),
    Goal(Case(1000, 2, 2.5, scale=20, all_fail=True), sent=(180.0, 300.0), failed=(180.0, 240.0)),
    Goal(Case(100, 2, scale=10, backlog_h=6), settled=SOON, backlog=(60.0, 1.25)),
)
HEAD = (
    "| a second | settle | sent: goal | measured | settled: goal | measured | failed: goal | measured | lag | requests a poll"
    " | read a day | state | planning |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation.report", description=__doc__)
    parser.add_argument("--rate", type=float, action="append", help="only this rate")
    parser.add_argument("--settle", type=float, action="append", help="only this settling time, in seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes to use")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value")
    arguments = parser.parse_args()
    for each in arguments.set:
        name, _, value = each.partition("=")
        if not _give(name, value):
            parser.error(f"--set: nothing is called {name}")
    goals = [
        goal
        for goal in GOALS
        if (not arguments.rate or goal.case.per_second in arguments.rate)
        and (not arguments.settle or goal.case.settle_s in arguments.settle)
    ]
    began = time.monotonic()
    print(HEAD, flush=True)
    wrong = missed = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for goal, measured in zip(goals, pool.map(measure, [goal.case for goal in goals]), strict=True):
            print(line(goal, measured), flush=True)
            wrong += bool(measured.problems)
            missed += "**" in line(goal, measured)
    print(f"\n{len(goals)} runs, {wrong} not exact, {missed} beside a goal, {time.monotonic() - began:.0f} s")
    return 1 if wrong or missed else 0


def _give(name: str, value: str) -> bool:
    """Give a constant another value in all modules that know it. False if there is none."""
    modules = [sys.modules[each] for each in sys.modules if each.startswith("infobip_exporter.")]
    known = [module for module in modules if hasattr(module, name)]
    for module in known:
        setattr(module, name, type(getattr(module, name))(float(value)))
    return bool(known)


def line(goal: Goal, measured: Measured) -> str:
    """A row of the table; what misses its goal is bold."""
    case = goal.case
    notes = [f"{case.burst}x bursts"] if case.burst > 1 else []
    notes += ["all fail"] if case.all_fail else []
    notes += [f"answers take {case.answer_s:g} s"] if case.answer_s > 1 else []
    cells = [f"{case.per_second:g}" + "".join(f", {note}" for note in notes), told(case.settle_s)]
    for wanted, found in (
        (goal.sent, measured.sent),
        (goal.settled, measured.settled),
        (goal.failed, measured.failed),
    ):
        missed = wanted is not None and not all(f <= w for f, w in zip(found, wanted, strict=True))
        cells += [_pair(wanted) if wanted else "", _bold(_pair(found), missed=missed)]
    by_why = ", ".join(f"{why} {each:.2f}" for why, each in sorted(measured.by_why.items()))
    too_many = goal.requests is not None and measured.requests > goal.requests
    cells += [
        told(measured.lag_s),
        f"{_bold(f'{measured.requests:.2f}', missed=too_many)} ({by_why})",
        _size(measured.bytes_a_day),
        _size(measured.state_bytes),
        f"{measured.plan_ms:.2f} ms",
    ]
    rest = ""
    if goal.backlog:
        minutes, ratio = goal.backlog
        took = f"{measured.backlog_min:.0f} min, {measured.backlog_ratio:.2f} times the fewest requests"
        late = measured.backlog_min > minutes or measured.backlog_ratio > ratio
        rest = f" backlog of {case.backlog_h:g} h read in {_bold(took, missed=late)}"
    if measured.problems:
        rest += f" **not exact: {'; '.join(measured.problems)}**"
    return f"| {' | '.join(cells)} |{rest}"


def _bold(text: str, *, missed: bool) -> str:
    return f"**{text}**" if missed else text


def _pair(ages_s: Pair) -> str:
    return " / ".join(map(told, ages_s))


def told(seconds: float) -> str:
    if math.isnan(seconds):
        return "none"
    if math.isinf(seconds):
        return "never"
    if seconds <= 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 2 * HOUR_S else f"{seconds / 3600:.1f} h"


def _size(size_bytes: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1e3:.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
