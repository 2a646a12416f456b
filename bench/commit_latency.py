"""How long a bind takes from each region, and how many a second there is room for.

`python -m globaltable.bench.commit_latency` starts three region nodes on this machine, with an
injected round trip between them, and measures

* each region in turn with one op outstanding: the latency of a durable commit;
* each region again with the round trip set to nothing: what the machine itself adds;
* all regions at once with more and more callers, each awaiting one op.

The callers run in a process of their own for each region, as they would in life, but on the same
machine: what they cost is in the figures.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

import uvloop

from globaltable.bench.latency import Latency, summarize
from globaltable.bench.load import bind_all
from globaltable.client import GlobalTable
from globaltable.model import Binding
from globaltable.testing import LocalCluster

TABLE: Final = "im.session"
WARM_UP_OPS: Final = 50
_SPAWN: Final = multiprocessing.get_context("spawn")
"""gRPC does not outlive a fork."""


class Alone(NamedTuple):
    """One region with one op outstanding."""

    round_trip_ms: float
    region: str
    latency: Latency


class Load(NamedTuple):
    """All regions at once, closed loop."""

    callers: int
    binds_per_s: float
    latency: Latency


class _Job(NamedTuple):
    address: str
    unit: str
    label: str
    callers: int
    ops: int | None
    seconds: float | None


def _keys(job: _Job) -> Iterator[str]:
    """New keys until the ops are used up, or the time is."""
    if job.ops is not None:
        for number in range(job.ops):
            yield f"{job.label}:{number}"
        return
    assert job.seconds is not None
    end = time.perf_counter() + job.seconds
    for number in itertools.count():
        if time.perf_counter() >= end:
            return
        yield f"{job.label}:{number}"


def _measure(job: _Job) -> tuple[list[float], float]:
    """In a process of its own: the durations, and over how many seconds they came."""
    return uvloop.run(_bind(job))


async def _bind(job: _Job) -> tuple[list[float], float]:
    durations: list[float] = []

    def note(_key: str, _binding: Binding, seconds: float) -> None:
        durations.append(seconds)

    def ignore(_key: str, _binding: Binding, _seconds: float) -> None:
        pass

    async with GlobalTable.connect([job.address], table=TABLE) as client:
        warm_up = (f"{job.label}:warm:{number}" for number in range(WARM_UP_OPS))
        await bind_all(client, job.unit, warm_up, 1, ignore)
        began = time.perf_counter()
        await bind_all(client, job.unit, _keys(job), job.callers, note)
        return durations, time.perf_counter() - began


def measure_alone(round_trip_ms: float, ops: int) -> list[Alone]:
    with (
        LocalCluster(("a", "b", "c"), tables=(TABLE,), round_trip_ms=round_trip_ms) as cluster,
        ProcessPoolExecutor(1, _SPAWN) as pool,
    ):
        results = []
        for region, address in cluster.addresses.items():
            job = _Job(address, region.upper(), f"alone:{region}", 1, ops, None)
            durations, _ = pool.submit(_measure, job).result()
            results.append(Alone(round_trip_ms, region, summarize(durations)))
        return results


def measure_load(round_trip_ms: float, callers: Sequence[int], seconds: float) -> list[Load]:
    results = []
    with (
        LocalCluster(("a", "b", "c"), tables=(TABLE,), round_trip_ms=round_trip_ms) as cluster,
        ProcessPoolExecutor(3, _SPAWN) as pool,
    ):
        for count in callers:
            jobs = [
                _Job(address, region, f"load:{count}:{region}", count // 3, None, seconds)
                for region, address in cluster.addresses.items()
            ]
            parts = list(pool.map(_measure, jobs))
            durations = [duration for part, _ in parts for duration in part]
            rate = sum(len(part) / took for part, took in parts)
            results.append(Load(count, rate, summarize(durations)))
    return results


def _print(alone: Sequence[Alone], loads: Sequence[Load]) -> None:
    print("one op outstanding      round trip        p50        p99      p99.9")
    for one in alone:
        latency = one.latency
        print(
            f"  from region {one.region:<8} {one.round_trip_ms:8.1f} ms {latency.p50_ms:7.2f} ms"
            f" {latency.p99_ms:7.2f} ms {latency.p999_ms:7.2f} ms"
        )
    print("\nall regions at once        binds/s        p50        p99      p99.9")
    for load in loads:
        latency = load.latency
        print(
            f"  {load.callers:5d} callers         {load.binds_per_s:9,.0f} {latency.p50_ms:7.2f} ms"
            f" {latency.p99_ms:7.2f} ms {latency.p999_ms:7.2f} ms"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m globaltable.bench.commit_latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--round-trip-ms", type=float, default=10.0, help="injected")
    parser.add_argument("--ops", type=int, default=600, help="of each region, one at a time")
    parser.add_argument(
        "--callers", type=int, nargs="*", default=[48, 96, 192, 384, 768], help="under load"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    alone = measure_alone(options.round_trip_ms, options.ops)
    if options.round_trip_ms:
        alone += measure_alone(0.0, options.ops)
    loads = measure_load(options.round_trip_ms, options.callers, options.seconds)
    _print(alone, loads)
    if options.json:
        figures = {
            "alone": [{**one._asdict(), "latency": one.latency._asdict()} for one in alone],
            "load": [{**load._asdict(), "latency": load.latency._asdict()} for load in loads],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
