"""The simulation is able to fail: each rule taken away is noticed, within the seeds it states."""

import pytest

from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.world import run

QUICK = 4
"""Mutants that are caught within this many seeds are tried at every run of the tests."""


def _caught(name: str) -> bool:
    with applied(MUTANTS[name]):
        return any(run(each).violation is not None for each in MUTANTS[name].schedules())


@pytest.mark.parametrize("name", [name for name in MUTANTS if MUTANTS[name].seeds <= QUICK])
def test_a_mutant_is_caught_at_once(name: str) -> None:
    assert _caught(name), MUTANTS[name].rule


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in MUTANTS if MUTANTS[name].seeds > QUICK])
def test_a_mutant_is_caught(name: str) -> None:
    assert _caught(name), MUTANTS[name].rule
