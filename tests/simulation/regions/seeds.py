"""Many runs, in several processes. Apart from the command, whose module a process cannot import."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from tests.simulation.regions.plan import Plan, draw
from tests.simulation.regions.world import Result, run


class Ran(NamedTuple):
    plan: Plan
    result: Result
    cpu_s: float


def run_seed(seed: int, size: Plan) -> Ran:
    began = time.process_time()
    plan = draw(seed, size)
    return Ran(plan, run(plan), time.process_time() - began)


def run_seeds(seeds: Iterable[int], size: Plan, jobs: int) -> Iterator[Ran]:
    of_seed = partial(run_seed, size=size)
    if jobs == 1:
        yield from map(of_seed, seeds)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(of_seed, seeds)
