"""`python -m tests.simulation.regions [--seeds N] [--start S] [--jobs J] [--small]`."""

import argparse
import sys

from tests.simulation.regions.plan import SMALL, WHOLE
from tests.simulation.regions.report import report
from tests.simulation.regions.seeds import run_seeds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.regions", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many runs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--small", action="store_true", help="10 nodes, 32 groups")
    options = parser.parse_args()
    seeds = range(options.start, options.start + options.seeds)
    failed = 0
    for ran in run_seeds(seeds, SMALL if options.small else WHOLE, options.jobs):
        print(report(ran), flush=True)
        failed += ran.result.violation is not None
    print(f"{len(seeds)} seeds from {seeds.start}: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
