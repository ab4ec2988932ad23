"""`python -m simulation`: many seeds, or one with a trace of everything that happens."""

import argparse
import gc
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from simulation.run import Outcome, run
from simulation.shrink import shrunk
from simulation.world import draw


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="tell of everything that happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes to use")
    parser.add_argument(
        "--shrink", action="store_true", help="make the world of --seed small while it still fails"
    )
    parser.add_argument("--until-failure", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--longest", type=int, default=0, help="CPU seconds a seed may take; more fails")
    arguments = parser.parse_args()
    if arguments.seed is not None and arguments.shrink:
        return run_shrunk(arguments.seed)
    if arguments.seed is not None:
        outcome = run(arguments.seed, print if arguments.trace else None)
        print(outcome)
        return 1 if outcome.problems else 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.until_failure:
        return run_until_failure(seeds, arguments.longest)
    return run_many(seeds, arguments.jobs)


def run_shrunk(seed: int) -> int:
    outcome, taken = shrunk(draw(seed))
    print("without:", ", ".join(taken) or "nothing")
    print(outcome)
    return 1 if outcome.problems else 0


def run_until_failure(seeds: range, longest_s: int) -> int:
    for seed in seeds:
        signal.setitimer(signal.ITIMER_PROF, longest_s)
        outcome = run(seed)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if outcome.problems:
            print(outcome)
            return 1
    return 0


def _took_too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError("the seed takes too long: it goes in circles")


def _begin() -> None:
    gc.disable()
    gc.freeze()


def _run_one(seed: int) -> Outcome:
    outcome = run(seed)
    gc.collect()
    return outcome


def run_many(seeds: range, jobs: int) -> int:
    began = time.monotonic()
    failed: list[Outcome] = []
    # Garbage is collected between two worlds, not in them: that takes a fifteenth of the time.
    with ProcessPoolExecutor(jobs, initializer=_begin) as pool:
        for outcome in pool.map(_run_one, seeds, chunksize=4):
            if outcome.problems:
                failed.append(outcome)
                print(outcome, flush=True)
    print(f"{len(seeds)} seeds, {len(failed)} failed, {time.monotonic() - began:.0f} s")
    if failed:
        print("failed:", *(outcome.seed for outcome in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, _took_too_long)
    sys.exit(main())
