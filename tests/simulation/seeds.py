"""Many seeds, over processes. Apart from the command, for a spawned process cannot import that."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from tests.simulation.schedule import draw
from tests.simulation.world import Result, run

_CHUNK: Final = 16


def run_seed(seed: int) -> Result:
    return run(draw(seed))


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    # Not forked: who runs the tests may have threads, whose locks a fork would copy as held. And an
    # executor, which notices a process that dies, where a `Pool` would wait for good.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(run_seed, seeds, chunksize=_CHUNK)
