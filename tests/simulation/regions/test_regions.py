"""A minority of regions may be lost: nothing acknowledged is, nothing is bound twice, all groups
are led again in time, no call of those who have a majority fails, and who returns takes part."""

import pytest

from tests.simulation.mutants import applied
from tests.simulation.regions.mutants import MUTANTS
from tests.simulation.regions.plan import SMALL, WHOLE, Loss, draw
from tests.simulation.regions.report import report
from tests.simulation.regions.seeds import run_seed, run_seeds
from tests.simulation.regions.world import run

# Simulated time is bounded; this is only for machines that have much else to do.
pytestmark = pytest.mark.timeout(900)

QUICK = {2: Loss.POWER, 5: Loss.LINKS}
"""Seeds that have three replicas a group, which is quicker."""


@pytest.mark.parametrize("seed", QUICK)
def test_ten_nodes_and_32_groups(seed: int) -> None:
    ran = run_seed(seed, SMALL)
    assert ran.result.violation is None, report(ran)
    assert (ran.plan.loss, ran.plan.replicas) == (QUICK[seed], 3)
    result = ran.result
    assert result.installs > 0, "nothing was caught up by a snapshot"
    assert result.changes_seen > 0, "watchers saw nothing"
    assert result.told > 400, "hardly anybody asked"
    assert result.reads > 50, "hardly anybody read"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_twenty_nodes_and_256_groups(seed: int) -> None:
    ran = run_seed(seed, WHOLE)
    assert ran.result.violation is None, report(ran)
    assert ran.plan.loss is (Loss.LINKS if seed else Loss.POWER)
    assert len(ran.plan.lost) == 1 + seed
    assert ran.result.told > 3_000


@pytest.mark.slow
def test_more_seeds_of_ten_nodes() -> None:
    for ran in run_seeds(range(10, 20), SMALL, jobs=2):
        assert ran.result.violation is None, report(ran)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_in_any_process() -> None:
    """To the end of the trace, times and checksums of frames included."""
    here = [run(draw(seed, SMALL)) for seed in (2, 5)]
    assert [ran.result for ran in run_seeds((2, 5), SMALL, jobs=2)] == here


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    mutant, plan, says = MUTANTS[name]
    assert run(plan).violation is None
    with applied(mutant):
        violation = run(plan).violation
    assert violation is not None, mutant.rule
    assert says in violation
