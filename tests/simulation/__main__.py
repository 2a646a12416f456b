"""`python -m tests.simulation --seeds N [--start S] [--jobs J]`: run seeds, print one line.

For a seed that fails: the least schedule that still fails, what it violates, the end of the trace,
and the command that repeats it.
"""

import argparse
import sys
import time
from typing import Final

from tests.simulation.report import report
from tests.simulation.schedule import decode, draw
from tests.simulation.seeds import run_seeds
from tests.simulation.shrink import shrink
from tests.simulation.world import run

SHOWN_MAX: Final = 3


def _run_all(seeds: range, jobs: int, lines: int, shrinks: bool) -> int:
    began = time.monotonic()
    failed: list[int] = []
    events = told = changes = installs = elections = rebuilds = steps = moves = 0
    simulated = 0.0
    for result in run_seeds(seeds, jobs):
        events += result.events
        told += result.told
        changes += result.changes_seen
        installs += result.installs
        elections += result.elections
        rebuilds += result.rebuilds
        steps += result.member_changes
        moves += result.slot_moves
        simulated += result.seconds
        if result.violation is not None:
            failed.append(result.seed)
            if len(failed) <= SHOWN_MAX:
                schedule = draw(result.seed)
                least = shrink(schedule) if shrinks else schedule
                print(report(least, run(least), lines), flush=True)
    took = time.monotonic() - began
    print(
        f"{len(seeds)} seeds from {seeds.start}: {len(failed)} failed"
        f"{' ' + str(failed[:20]) if failed else ''}; {events} events, {told} outcomes, "
        f"{changes} changes watched, {elections} elections, {installs} snapshots installed, "
        f"{rebuilds} replicas rebuilt, {steps} changes of members, {moves} slots moved, "
        f"{simulated:.0f} s simulated in {took:.1f} s ({len(seeds) / took:.1f} schedules/s)"
    )
    return 1 if failed else 0


def _run_one(text: str, lines: int) -> int:
    schedule = decode(text)
    result = run(schedule)
    if result.violation is not None:
        print(report(schedule, result, lines))
        return 1
    print(f"nothing is violated: {result.events} events, digest {result.digest}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--schedule", help="run this one, as a report of a failure prints it")
    parser.add_argument("--lines", type=int, default=60, help="of a failing run's trace")
    parser.add_argument("--as-drawn", action="store_true", help="do not shrink what fails")
    options = parser.parse_args()
    if options.schedule is not None:
        return _run_one(options.schedule, options.lines)
    seeds = range(options.start, options.start + options.seeds)
    return _run_all(seeds, options.jobs, options.lines, not options.as_drawn)


if __name__ == "__main__":
    sys.exit(main())
