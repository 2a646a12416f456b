"""A share of the seeds that `python -m tests.simulation` runs, and that runs repeat exactly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.faults import KINDS
from tests.simulation.report import report
from tests.simulation.schedule import FAULT_SECONDS, LEADER, Fault, Schedule, decode, draw, encode
from tests.simulation.seeds import run_seeds
from tests.simulation.world import run

SEEDS = 150
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("start", [0, pytest.param(SEEDS, marks=pytest.mark.long)])
def test_seeds(start: int) -> None:
    snapshots = rebuilds = steps = moves = reclaims = 0
    for result in run_seeds(range(start, start + SEEDS), jobs=2):
        schedule = draw(result.seed)
        assert result.violation is None, report(schedule, result, 80)
        snapshots += result.installs
        rebuilds += result.rebuilds
        steps += result.member_changes
        moves += result.slot_moves
        reclaims += result.reclaims
    bites = snapshots > 25 and rebuilds > 10 and steps > 75 and moves > 30 and reclaims > 5
    assert bites, (snapshots, rebuilds, steps, moves, reclaims, "schedules have lost their bite")


def test_a_schedule_survives_being_printed() -> None:
    for seed in range(20):
        assert decode(encode(draw(seed))) == draw(seed)


@pytest.mark.long
def test_runs_in_several_processes_are_the_same_runs() -> None:
    seeds = (1, 2, 3)
    alone, together = ([r.digest for r in run_seeds(seeds, jobs)] for jobs in (1, 2))
    assert alone == together


def test_the_same_seed_gives_the_same_trace_in_any_process() -> None:
    script = (
        "from tests.simulation.schedule import draw\n"
        "from tests.simulation.world import run\n"
        "print([run(draw(seed)).digest for seed in (3, 4)])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert digests == {f"{[run(draw(seed)).digest for seed in (3, 4)]}\n".encode()}


_FAULTS = st.builds(
    Fault,
    at=st.integers(0, int(FAULT_SECONDS * 10)).map(lambda tenths: tenths / 10),
    kind=st.sampled_from(list(KINDS)),
    node=st.integers(LEADER, 2),
    other=st.integers(0, 1),
    seconds=st.sampled_from((0.1, 0.4, 1.0, 2.0)),
)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    faults=st.lists(_FAULTS, max_size=10),
    unruly=st.booleans(),
    groups=st.integers(1, 2),
    seed=st.integers(0, 50),
)
def test_schedules_drawn_by_hypothesis(
    faults: list[Fault], unruly: bool, groups: int, seed: int
) -> None:
    """The same runs, with schedules that hypothesis can shrink to the faults that matter."""
    schedule = Schedule(seed, 3, groups, unruly, 0.005, 0.002, 2, tuple(sorted(faults)))
    result = run(schedule)
    assert result.violation is None, report(schedule, result, 60)


@pytest.mark.long
def test_the_command_runs_in_several_processes() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "4", "--jobs", "2"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.startswith("4 seeds from 0: 0 failed; ")
