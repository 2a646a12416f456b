"""`python -m tests.simulation --seeds N [--start S] [--jobs J]`: run seeds, print one line.

For a seed that fails: what was violated, the schedule, the end of the trace, and the command that
repeats it.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import Pool

from tests.simulation.schedule import draw
from tests.simulation.world import Result, run


def run_seed(seed: int) -> Result:
    return run(draw(seed))


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with Pool(jobs) as pool:
        yield from pool.imap(run_seed, seeds)


def report(result: Result, lines: int) -> str:
    """A failing run, for a person to read."""
    schedule = draw(result.seed)
    faults = "\n".join(
        f"  {fault.at:6.3f} s  {fault.kind}, node {fault.node}, other {fault.other}, "
        f"{fault.seconds} s"
        for fault in schedule.faults
    )
    return "\n".join(
        [
            f"seed {result.seed} FAILS: {result.violation}",
            f"schedule: {schedule._replace(faults=())}",
            faults,
            f"the last {lines} lines of its trace:",
            *result.trace[-lines:],
            f"to repeat it: python -m tests.simulation --seeds 1 --start {result.seed}",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--lines", type=int, default=60, help="of a failing run's trace")
    options = parser.parse_args()
    began = time.monotonic()
    failed: list[int] = []
    events = told = installs = elections = 0
    simulated = 0.0
    for result in run_seeds(range(options.start, options.start + options.seeds), options.jobs):
        events += result.events
        told += result.told
        installs += result.installs
        elections += result.elections
        simulated += result.seconds
        if result.violation is not None:
            failed.append(result.seed)
            if len(failed) <= 3:
                print(report(result, options.lines), flush=True)
    took = time.monotonic() - began
    print(
        f"{options.seeds} seeds from {options.start}: {len(failed)} failed"
        f"{' ' + str(failed[:20]) if failed else ''}; {events} events, {told} outcomes, "
        f"{elections} elections, {installs} snapshots installed, {simulated:.0f} s simulated "
        f"in {took:.1f} s ({options.seeds / took:.1f} schedules/s)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
