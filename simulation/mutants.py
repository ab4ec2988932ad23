"""`python -m simulation.mutants`: deliberate faults in the core, each of which the simulation must catch.

Each is applied alone, in a copy of the tree in a temporary folder; seeds are run until one fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from simulation.faults import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent
COPIED = ("infobip_exporter", "infobip_sandbox", "simulation")
LONGEST_SEED_S = 60
"""A seed that takes more CPU time hangs: the fault has been caught."""


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    seed: int | None
    """The seed that caught the fault, None when none did."""
    said: str
    took_s: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds a fault is given")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time")
    parser.add_argument("--only", default="", help="only faults whose description has this text")
    parser.add_argument("--write", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.says]
    for mutant in chosen:
        mutant.applied((ROOT / mutant.path).read_text())
    with ThreadPoolExecutor(arguments.jobs) as pool:
        verdicts = []
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        for verdict in pool.map(lambda mutant: judge(mutant, seeds), chosen):
            verdicts.append(verdict)
            print(line(verdict), flush=True)
    _blameless({(verdict.mutant.module, verdict.seed) for verdict in verdicts if verdict.seed is not None})
    missed = sum(verdict.seed is None for verdict in verdicts)
    print(f"{len(verdicts)} faults, {missed} not caught")
    if arguments.write:
        arguments.write.write_text(page(verdicts, arguments.seeds))
    return 1 if missed else 0


def judge(mutant: Mutant, seeds: range) -> Verdict:
    """Run `seeds` with the fault until one of them fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        target = tree / mutant.path
        target.write_text(mutant.applied(target.read_text()))
        seed, said = _first_failing(tree, seeds, mutant.module)
    return Verdict(mutant, seed, said, time.monotonic() - began)


def _first_failing(tree: Path, seeds: range, module: str) -> tuple[int | None, str]:
    command = [sys.executable, "-m", module, "--until-failure", "--first", str(seeds.start)]
    command += ["--seeds", str(len(seeds)), "--longest", str(LONGEST_SEED_S)]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    for text in ran.stdout.splitlines():
        if text.startswith("seed ") and ": FAILED" in text:
            said = ran.stdout.split(": FAILED\n", 1)[-1].strip().splitlines()
            return int(text.split()[1].rstrip(":")), said[0].strip() if said else ""
    if ran.returncode:
        raise RuntimeError(f"the simulation did not run:\n{ran.stdout}\n{ran.stderr}")
    return None, ""


def _blameless(caught: set[tuple[str, int]]) -> None:
    """Raises RuntimeError where a seed fails without any fault: what it caught says nothing."""
    for module, seed in sorted(caught):
        failing, said = _first_failing(ROOT, range(seed, seed + 1), module)
        if failing is not None:
            raise RuntimeError(f"seed {seed} fails without a fault: {said}")


def line(verdict: Verdict) -> str:
    mutant = verdict.mutant
    seed = "**none**" if verdict.seed is None else str(verdict.seed)
    return f"| `{mutant.path.removeprefix('infobip_exporter/')}` | {mutant.says} | {seed} |"


def page(verdicts: list[Verdict], seeds: int) -> str:
    head = (
        "# Deliberate faults\n\n"
        "The simulation is only worth what it catches. `make mutants` breaks the core on purpose, one fault\n"
        f"at a time, and runs seeds until one fails; each fault has {seeds} to be caught in. It writes this page.\n"
        "The faults themselves are in [simulation/faults.py](../simulation/faults.py).\n\n"
        "| where | what is wrong | caught by seed |\n|---|---|--:|\n"
    )
    return head + "\n".join(map(line, verdicts)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
