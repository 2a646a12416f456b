"""The simulation is able to fail: each rule taken away is noticed, within the seeds it states."""

import pytest

from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.world import run


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    with applied(MUTANTS[name]):
        results = [run(schedule) for schedule in MUTANTS[name].schedules()]
    assert any(result.violation is not None for result in results), MUTANTS[name].rule


@pytest.mark.parametrize("name", MUTANTS)
def test_without_the_mutant_nothing_is_wrong(name: str) -> None:
    """Else the schedules that are made for it would prove nothing."""
    mutant = MUTANTS[name]
    harness = [patch for patch in mutant.patches() if patch[1] in mutant.harness]
    with applied(mutant._replace(patches=lambda: harness)):
        results = [run(schedule) for schedule in mutant.schedules()]
    assert [result.violation for result in results] == [None] * mutant.seeds
