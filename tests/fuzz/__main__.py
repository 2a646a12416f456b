"""`python -m tests.fuzz --inputs 1000000 --jobs 2`: every decoder against bad bytes.

Prints a line for each target and a total. Exit status 1, with the input and the command that
repeats it, if a decoder did anything but accept or refuse in its own way.
"""

import argparse
import logging
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import structlog

from tests.fuzz.running import SHARD_INPUTS, Tally, judge, opened, run_shard
from tests.fuzz.subject import Target
from tests.fuzz.targets import BY_NAME, TARGETS

DATA_BYTES_MAX: Final = 4 << 30
"""What a process may allocate: an unbounded allocation fails instead of the machine."""

_Shard = tuple[str, int, int, int]


def shards(targets: Sequence[Target], inputs: int, seed: int) -> Iterator[_Shard]:
    """The inputs, dealt out by the targets' shares; never fewer than asked for."""
    shares = sum(target.share for target in targets)
    for target in targets:
        remaining = -(-inputs * target.share // shares)  # rounded up
        number = 0
        while remaining > 0:
            yield target.name, seed, number, min(SHARD_INPUTS, remaining)
            remaining -= SHARD_INPUTS
            number += 1


def _run(shard: _Shard) -> tuple[str, Tally]:
    name, seed, number, inputs = shard
    return name, run_shard(name, seed, number, inputs)


def quieten() -> None:
    """What the product logs about bad input is right, and is not wanted here a million times."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _begin() -> None:
    quieten()
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES_MAX, DATA_BYTES_MAX))


def fuzz(targets: Sequence[Target], inputs: int, seed: int, jobs: int) -> dict[str, Tally]:
    """All inputs, over some processes."""
    tallies = {target.name: Tally() for target in targets}
    work = list(shards(targets, inputs, seed))
    forked = multiprocessing.get_context("fork")
    # An executor notices a process that dies, by a signal say; a `Pool` would wait for good.
    with ProcessPoolExecutor(jobs, mp_context=forked, initializer=_begin) as pool:
        for name, tally in pool.map(_run, work):
            tallies[name].add(tally)
    return tallies


def line(name: str, tally: Tally) -> str:
    refused = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.refused.items()))
    return (
        f"{name:<24}{tally.inputs:>10,}{tally.accepted:>10,}{tally.slowest_s * 1000:>10.1f} ms"
        f"{tally.peak_bytes / 1e6:>8.2f} MB  {refused or '-'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(BY_NAME))
    parser.add_argument("--input", metavar="HEX", help="one input, instead of many")
    options = parser.parse_args(arguments)
    targets = [BY_NAME[options.target]] if options.target else TARGETS
    started = time.monotonic()
    if options.input is not None:
        tally = Tally()
        _begin()
        (target,) = targets
        judge(target, opened(target.name), bytes.fromhex(options.input), tally, traced=False)
        judge(target, opened(target.name), bytes.fromhex(options.input), tally, traced=True)
        tallies = {target.name: tally}
    else:
        tallies = fuzz(targets, options.inputs, options.seed, options.jobs)
    print(f"{'TARGET':<24}{'INPUTS':>10}{'ACCEPTED':>10}{'SLOWEST':>13}{'PEAK':>11}  REFUSED BY")
    total = Tally()
    for name, tally in tallies.items():
        print(line(name, tally))
        total.add(tally)
    total.refused.clear()
    took_s = time.monotonic() - started
    print(line("total", total).rstrip("- "))
    print(f"seed {options.seed}, {took_s:.0f} s, allocation traced for {total.traced:,} inputs")
    shown: set[tuple[str, str]] = set()
    for finding in total.findings:
        alike = (finding.target, finding.what[:40])
        if alike in shown:
            continue
        shown.add(alike)
        print(f"\n{finding.target}: {finding.what}\n  {finding.data.hex()}\n  {finding.command}")
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
