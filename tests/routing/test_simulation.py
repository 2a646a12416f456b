"""Nothing is accepted twice and nothing is lost, in a share of the seeds; and each rule taken away
is noticed. `python -m tests.routing --seeds N` runs more."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.routing.mutants import MUTANTS, SELDOM
from tests.routing.simulation import run
from tests.simulation.mutants.mutant import applied

ROOT = Path(__file__).parents[2]
SEEDS = 8


def _counts(seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts.update(run(seed).counts)
    return counts


def test_messages_meet_one_unit_and_none_is_lost() -> None:
    counts = _counts(range(SEEDS))
    assert counts["acknowledged"] > 100 * SEEDS
    for what in ("restarted", "mover crashed", "moved by force", "undone", "MOVING", "FORWARD"):
        assert counts[what] > SEEDS, "the runs have lost their bite"


@pytest.mark.slow
def test_messages_meet_one_unit_and_none_is_lost_in_more_seeds() -> None:
    counts = _counts(range(1_000, 1_150))
    assert counts["NotConfirmed"] > 50


def _is_caught(name: str) -> bool:
    mutant = MUTANTS[name]
    with applied(mutant):
        for seed in range(mutant.first_seed, mutant.first_seed + mutant.seeds):
            try:
                run(seed)
            except AssertionError:
                return True
    return False


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in SELDOM])
def test_a_mutant_is_caught(name: str) -> None:
    assert _is_caught(name), MUTANTS[name].rule


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SELDOM))
def test_a_mutant_that_seldom_matters_is_caught(name: str) -> None:
    assert _is_caught(name), MUTANTS[name].rule


def test_the_same_seed_is_the_same_run_in_any_process() -> None:
    script = "from tests.routing.simulation import run; print(sorted(run(5).counts.items()))"
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1
