"""The deliberate faults still fit the code they are meant for; `make mutants` runs them."""

from pathlib import Path

import pytest

from simulation.faults import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.says)
def test_a_fault_changes_one_place_and_leaves_python(mutant: Mutant) -> None:
    text = (ROOT / mutant.path).read_text()
    compile(mutant.applied(text), mutant.path, "exec")


def test_no_fault_is_there_twice() -> None:
    assert len({(mutant.path, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS) >= 40
