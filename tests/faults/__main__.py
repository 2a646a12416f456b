"""`python -m tests.faults --minutes M`: real nodes under faults, and clients that are judged.

In rounds, each with a fresh cluster and a mix of faults drawn from its seed. Exit status: 0 all
promises kept and every cluster recovered, 1 not, 2 usage.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter

from tests.faults.mix import draw, impossible
from tests.faults.round import Result, line_of, play
from tests.faults.scene import FaultKind


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="no round begins after that")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next has +1")
    parser.add_argument("--seconds", type=float, default=20.0, help="of faults in a round")
    parser.add_argument(
        "--kinds",
        nargs="+",
        type=FaultKind,
        choices=list(FaultKind),
        default=list(FaultKind),
        metavar="KIND",
        help=f"of {', '.join(FaultKind)}; all unless given",
    )
    options = parser.parse_args()
    # Whoever ends it, nodes, namespaces and mounts are put away as after an interrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    left_out = impossible()
    for kind, why in left_out.items():
        print(f"left out: {kind} ({why})")
    kinds = [kind for kind in options.kinds if kind not in left_out]
    if not kinds:
        print("nothing is left", file=sys.stderr)
        return 2
    packets_possible = FaultKind.LOSS not in left_out
    began = time.monotonic()
    totals = _Totals()
    while time.monotonic() - began < options.minutes * 60 or not totals.rounds:
        mix = draw(options.seed + totals.rounds, kinds, packets_possible)
        result = asyncio.run(play(mix, options.seconds))
        totals.add(result)
        print(line_of(totals.rounds, result), flush=True)
        if not result.passed:
            if not result.judgement.kept:
                print(result.judgement)
            print(f"kept: {result.kept_at}", flush=True)
            again = (
                f"--seed {result.mix.seed} --seconds {options.seconds} --kinds {' '.join(kinds)}"
            )
            print(f"the same faults again: python -m tests.faults --minutes 0 {again}")
            print(f"to judge it again: python -m tests.faults.judge {result.history}", flush=True)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes, {totals}")
    return 1 if totals.failed else 0


class _Totals:
    """Of all rounds."""

    def __init__(self) -> None:
        self.rounds = self.failed = self.violations = self.undecided = self.contended = 0
        self.rss_bytes_max = 0
        self.recovered_s_max = 0.0
        self.done: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        self.rounds += 1
        self.failed += not result.passed
        self.violations += len(result.judgement.violations)
        self.undecided += len(result.judgement.undecided)
        self.contended += result.judgement.contended
        self.rss_bytes_max = max(self.rss_bytes_max, result.rss_bytes_max)
        self.recovered_s_max = max(self.recovered_s_max, result.recovered_s)
        self.done += result.done
        self.endings.update({e.value: n for e, n in result.judgement.endings.items()})

    def __str__(self) -> str:
        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))

        return (
            f"{self.rounds} rounds, {self.failed} failed: {listed(self.done)} | "
            f"{self.endings.total():,} ops: {listed(self.endings)} | "
            f"{self.contended:,} contended keys, {self.undecided} undecided | "
            f"slowest recovery {self.recovered_s_max:.1f} s, "
            f"a node's memory {self.rss_bytes_max >> 20} MiB at most | "
            f"{self.violations} violations"
        )


if __name__ == "__main__":
    sys.exit(main())
