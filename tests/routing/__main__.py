"""`python -m tests.routing --seeds N --start S`: more runs of units, movers and their clients."""

import argparse
import sys
import time
from collections import Counter

from tests.routing.simulation import Violation, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.routing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    failed = 0
    for seed in range(options.start, options.start + options.seeds):
        try:
            counts.update(run(seed).counts)
        except Violation as violation:
            failed += 1
            print(f"seed {seed}: {violation}", flush=True)
    took_s = time.monotonic() - began_s
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(f"{options.seeds} seeds from {options.start}: {failed} failed; {told}; {took_s:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
