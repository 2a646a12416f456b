"""Gives a decoder its inputs, and judges what it does with each.

Inputs come in shards, each with a random generator of its own, made from the seed, the target's
name and the shard's number: the same inputs come out whatever the number of processes.
"""

import random
import resource
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from tests.fuzz.minimising import minimised
from tests.fuzz.mutations import Mutator
from tests.fuzz.subject import Refused, Subject, Target
from tests.fuzz.targets import BY_NAME

SHARD_INPUTS: Final = 1_000
SLOW_S: Final = 1.0
"""Of processor time, for the machine may be busy with other things."""
STUCK_S: Final = 30.0
"""On the clock: whoever waits takes no processor time."""
TRACED_ONE_IN: Final = 40
GROWN_BYTES_MAX: Final = 536_870_912
"""By which a process may grow over a shard: for what `tracemalloc` does not see."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that does what it may not."""

    target: str
    what: str
    data: bytes

    @property
    def command(self) -> str:
        return f"python -m tests.fuzz --target {self.target!r} --input {self.data.hex()}"


@dataclass(slots=True)
class Tally:
    """What became of the inputs of one target."""

    inputs: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    traced: int = 0
    peak_bytes: int = 0
    grown_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.inputs += other.inputs
        self.accepted += other.accepted
        self.refused += other.refused
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.traced += other.traced
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.grown_bytes = max(self.grown_bytes, other.grown_bytes)
        self.findings += other.findings


@cache
def opened(name: str) -> Subject:
    """The subject of a target, once in each process; it accepts its seeds."""
    target = BY_NAME[name]
    subject = target.open()
    for seed in subject.seeds:
        try:
            subject.decode(seed)
        except target.refuses_by as error:
            if not target.may_refuse_seeds:
                raise AssertionError(f"{name} refuses a valid encoding: {seed.hex()}") from error
    return subject


def run_shard(name: str, seed: int, shard: int, inputs: int = SHARD_INPUTS) -> Tally:
    """Some inputs of one target."""
    target, subject = BY_NAME[name], opened(name)
    chance = random.Random(f"{seed}/{name}/{shard}")
    mutator = Mutator(subject.seeds, target.grammar, chance)
    tally = Tally()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(inputs):
        data = mutator.next()
        judge(target, subject, data, tally, traced=chance.randrange(TRACED_ONE_IN) == 0)
        if tally.findings:
            break
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1024
    tally.grown_bytes = grown
    if grown > GROWN_BYTES_MAX:
        what = f"memory: the process has grown by {grown} bytes in shard {shard} of seed {seed}"
        tally.findings.append(Finding(name, what, data))
    return tally


def judge(target: Target, subject: Subject, data: bytes, tally: Tally, *, traced: bool) -> None:
    """One input: noted in `tally`, with a finding, made small, if there is one."""
    what = _meet(target, subject, data, tally, traced=traced)
    if what is None:
        return

    def fails_alike(smaller: bytes) -> bool:
        found = _meet(target, subject, smaller, Tally(), traced=traced)
        return found is not None and found.partition(":")[0] == what.partition(":")[0]

    small = minimised(data, fails_alike)
    told = _meet(target, subject, small, Tally(), traced=traced) or what
    tally.findings.append(Finding(target.name, told, small))


def _alike(one: object, other: object) -> bool:
    try:
        return repr(one) == repr(other)  # NaN is not equal to itself
    except RecursionError:
        return True  # it cannot be told, and is nothing that an encoder makes


def _meet(
    target: Target, subject: Subject, data: bytes, tally: Tally, *, traced: bool
) -> str | None:
    """What is wrong, if anything is."""
    wrong: str | None = None
    if traced:
        tracemalloc.start()
    started, started_cpu = time.perf_counter(), time.process_time()
    try:
        value = subject.decode(data)
    except target.refuses_by as error:
        named = str(error) if isinstance(error, Refused) else type(error).__name__
        tally.refused[named] += 1
    except Exception as error:
        wrong = f"{type(error).__name__}: {str(error)[:300]}"
    else:
        tally.accepted += 1
        try:
            again = subject.again(value)
        except Exception as error:
            wrong = f"encoding again, {type(error).__name__}: {str(error)[:300]}"
        else:
            if not _alike(again, value):
                wrong = f"round trip: {value!r:.200} comes back as {again!r:.200}"
    took_s = time.process_time() - started_cpu
    waited_s = time.perf_counter() - started
    tally.inputs += 1
    if traced:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        tally.traced += 1
        tally.peak_bytes = max(tally.peak_bytes, peak)
        if peak > target.allocation_max(len(data)) and wrong is None:
            wrong = f"allocation: {peak} bytes for an input of {len(data)}"
    else:
        tally.slowest_s = max(tally.slowest_s, took_s)
        if (took_s > SLOW_S or waited_s > STUCK_S) and wrong is None:
            wrong = f"slow: {took_s:.2f} s of processor time, {waited_s:.2f} s on the clock"
    return wrong
