"""What it costs that a table has grown: the same figures at 10^5, 10^6 and 10^7 sessions.

For each size a cluster of three is filled (`fill`), started, and measured:

* bind latency with one op outstanding, and throughput with a fixed number of callers;
* each node's memory, without the page cache of its table, and its disk;
* the restart of a node that was killed amid its work: from `exec` until it serves all its groups,
  and until it has applied what the others had when it was started;
* the return of a node that lost all its data: how long it takes by snapshots, how much memory both
  sides use, and what it does to the writes of the others meanwhile.

`python -m globaltable.bench.growth` prints them. Fresh keys are scattered as the filled ones are.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from globaltable.bench.fill import fill, filled_key, filled_unit
from globaltable.bench.latency import Latency, summarize
from globaltable.bench.load import bind_all
from globaltable.client import GlobalTable
from globaltable.errors import GlobalTableError
from globaltable.model import Binding
from globaltable.store import identity, replacement
from globaltable.testing import LocalCluster

TABLE: Final = "im.session"
SIZES: Final = (100_000, 1_000_000, 10_000_000)
REGIONS: Final = ("a", "b", "c")
AWAY: Final = "c"
"""The node that is restarted, and that loses its data."""

_FRESH: Final = 1 << 40
"""The first number of keys that no fill has made."""

_CHECKED: Final = 500
_WARM_UP_OPS: Final = 200
_PHASE_S: Final = 3.0
_RETURN_S_MAX: Final = 900.0
_POLL_S: Final = 0.02
_SPAWN: Final = multiprocessing.get_context("spawn")
"""gRPC does not outlive a fork."""


class Load(NamedTuple):
    """What callers saw, and the processor time that the nodes spent on a bind."""

    binds_per_s: float
    node_cpu_us: float
    latency: Latency


class Restart(NamedTuple):
    """Seconds from `exec`."""

    serving_s: float
    replayed_s: float


class Return(NamedTuple):
    """A node without data, caught up by snapshots under writes at the others."""

    took_s: float
    before: Latency
    during: Latency
    writes_per_s_before: float
    writes_per_s_during: float
    receiver_mb_max: float
    sender_mb_max: float


class Growth(NamedTuple):
    """One size."""

    sessions: int
    fill_s: float
    alone: Latency
    load: Load
    memory_mb: float
    """Of the node that uses the most, without what is mapped from files."""
    disk_mb: float
    restart: Restart
    returned: Return | None


class _Samples(NamedTuple):
    durations_s: list[float]
    rate: float


class _Job(NamedTuple):
    address: str
    first: int
    callers: int
    ops: int | None
    seconds: float | None


def anonymous_mb(pid: int) -> float:
    """A process's memory without what it maps from files: their pages are the kernel's cache."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    (line,) = [line for line in text.splitlines() if line.startswith("Anonymous:")]
    return int(line.split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# --- in processes of their own -------------------------------------------------------------------


def _binds(job: _Job) -> tuple[list[float], float]:
    return uvloop.run(_bind(job))


async def _bind(job: _Job) -> tuple[list[float], float]:
    durations: list[float] = []
    end = float("inf")

    def note(_key: str, binding: Binding, seconds: float) -> None:
        assert binding.created, "a fresh key was bound"
        durations.append(seconds)

    def keys() -> Iterator[str]:
        for number in itertools.count(job.first):
            if number - job.first == job.ops or time.perf_counter() >= end:
                return
            yield filled_key(number)

    def warm(_key: str, _binding: Binding, _seconds: float) -> None:
        pass

    async with GlobalTable.connect([job.address], table=TABLE) as client:
        # Of keys that are bound: an EXISTS goes through the log as a bind does.
        known = (filled_key(number) for number in range(_WARM_UP_OPS))
        await bind_all(client, "none", known, min(job.callers, 8), warm)
        began = time.perf_counter()
        if job.seconds is not None:
            end = began + job.seconds
        await bind_all(client, "A", keys(), job.callers, note)
        return durations, time.perf_counter() - began


def _check(address: str, sessions: int) -> int:
    return uvloop.run(_check_filled(address, sessions))


async def _check_filled(address: str, sessions: int) -> int:
    """That filled sessions are read as filled, and cannot be bound again. How many were tried."""
    numbers = range(0, sessions, max(1, sessions // _CHECKED))
    async with GlobalTable.connect([address], table=TABLE) as client:
        found = await client.get_many([filled_key(number) for number in numbers])
        for number in numbers:
            binding = found.get(filled_key(number))
            assert binding is not None, f"session {number} is not there"
            assert (binding.unit, binding.version) == (filled_unit(number), 1), (number, binding)
        for number in numbers[:: max(1, len(numbers) // 20)]:
            binding = await client.bind(filled_key(number), "none")
            assert not binding.created, f"session {number} was bound twice"
            assert binding.unit == filled_unit(number), (number, binding)
    return len(numbers)


# --- one size ------------------------------------------------------------------------------------


class _Measurement:
    """A running cluster, and fresh keys for it."""

    def __init__(self, cluster: LocalCluster, pool: ProcessPoolExecutor) -> None:
        self._cluster = cluster
        self._pool = pool
        # Not those of an earlier measurement of the same directory.
        self._next = _FRESH + (int(time.time()) << 24)

    def _job(self, region: str, callers: int, ops: int | None, seconds: float | None) -> _Job:
        self._next += 1 << 20
        return _Job(self._cluster.addresses[region], self._next, callers, ops, seconds)

    def check(self, sessions: int) -> None:
        for address in self._cluster.addresses.values():
            self._pool.submit(_check, address, sessions).result()

    def warm(self) -> None:
        """Have the tables in the page cache, as they are on a node that has run for long."""
        buffer = bytearray(1 << 22)
        for region in REGIONS:
            path = self._cluster.data_dir(region) / "table" / "data.mdb"
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def alone(self, ops: int) -> Latency:
        durations = []
        for region in REGIONS:
            durations += self._pool.submit(_binds, self._job(region, 1, ops, None)).result()[0]
        return summarize(durations)

    def load(self, callers: int, seconds: float, regions: Sequence[str] = REGIONS) -> Load:
        pids = [self._cluster.pid(region) for region in regions]
        spent = sum(map(cpu_s, pids))
        samples = self._samples(callers, seconds, regions)
        spent = sum(map(cpu_s, pids)) - spent
        cpu_us = spent / len(samples.durations_s) * 1e6
        return Load(samples.rate, cpu_us, summarize(samples.durations_s))

    def _samples(self, callers: int, seconds: float, regions: Sequence[str]) -> _Samples:
        jobs = [self._job(one, callers // len(regions), None, seconds) for one in regions]
        parts = list(self._pool.map(_binds, jobs))
        durations = [duration for part, _ in parts for duration in part]
        return _Samples(durations, sum(len(part) / took for part, took in parts))

    def memory_mb(self) -> float:
        return max(anonymous_mb(self._cluster.pid(region)) for region in REGIONS)

    def disk_mb(self) -> float:
        files = (self._cluster.data_dir(REGIONS[0])).rglob("*")
        return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) / 1e6

    def restart(self) -> Restart:
        """Killed right after a load, so that there is a log to be replayed."""
        self._cluster.kill(AWAY)
        target = self._applied("a")
        began = time.perf_counter()
        self._cluster.start_node(AWAY)
        serving_s = self._wait(began, self._serves)
        return Restart(serving_s, self._wait(began, lambda: self._has(target)))

    def lose_and_return(self, callers: int) -> Return:
        config = self._cluster.config
        others = [region for region in REGIONS if region != AWAY]
        before = self.load(callers, 2 * _PHASE_S, others)
        self._cluster.kill(AWAY)
        directory = self._cluster.data_dir(AWAY)
        held = identity.claim(
            directory,
            cluster=config.cluster,
            node=AWAY,
            groups=config.groups,
            slots=config.slots,
        )
        with open(held, "rb"):
            replacement.discard_all(directory, config.groups)
        target = self._applied("a")
        began = time.perf_counter()
        self._cluster.start_node(AWAY)
        with _HighestMemory(self._cluster) as highest:
            took: list[float] = []
            waiting = threading.Thread(
                target=lambda: took.append(self._wait(began, lambda: self._has(target)))
            )
            waiting.start()
            phases: list[_Samples] = []
            while waiting.is_alive():
                phases.append(self._samples(callers, _PHASE_S, others))
            waiting.join()
        assert took, "the node did not return"
        assert phases, "nothing was written meanwhile"
        return Return(
            took_s=took[0],
            before=before.latency,
            during=summarize(duration for phase in phases for duration in phase.durations_s),
            writes_per_s_before=before.binds_per_s,
            writes_per_s_during=statistics.median(phase.rate for phase in phases),
            receiver_mb_max=highest.mb[AWAY],
            sender_mb_max=max(highest.mb[region] for region in others),
        )

    def _applied(self, region: str) -> dict[int, int]:
        groups = self._cluster.status(region, 10.0).groups
        return {group.group: group.applied_revision for group in groups}

    def _serves(self) -> bool:
        with grpc.insecure_channel(self._cluster.addresses[AWAY]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _has(self, target: dict[int, int]) -> bool:
        groups = self._cluster.status(AWAY).groups
        return len(groups) == len(target) and all(
            group.applied_revision >= target[group.group] and not group.rebuilding
            for group in groups
        )

    def _wait(self, began: float, condition: Any) -> float:
        while True:
            try:
                if condition():
                    return time.perf_counter() - began
            except grpc.RpcError:
                pass  # it does not listen yet, or has better things to do
            if time.perf_counter() - began > _RETURN_S_MAX:
                raise GlobalTableError(f"node {AWAY} is not back after {_RETURN_S_MAX:.0f} s")
            time.sleep(_POLL_S)


class _HighestMemory:
    """The most that each running node uses while this is entered."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.mb: dict[str, float] = dict.fromkeys(REGIONS, 0.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            for region in REGIONS:
                if self._cluster.is_running(region):
                    self.mb[region] = max(self.mb[region], anonymous_mb(self._cluster.pid(region)))


def measure(
    sessions: int,
    *,
    round_trip_ms: float,
    ops: int,
    callers: int,
    seconds: float,
    loses_node: bool,
    directory: Path | None = None,
) -> Growth:
    """One size. A `directory` that holds a filled cluster is used as it is, and kept."""
    cluster = LocalCluster(
        REGIONS, tables=(TABLE,), round_trip_ms=round_trip_ms, directory=directory
    )
    began = time.perf_counter()
    try:
        if not cluster.data_dir(REGIONS[0]).exists():
            fill(cluster.config, sessions)
        fill_s = time.perf_counter() - began
        with cluster, ProcessPoolExecutor(len(REGIONS), _SPAWN) as pool:
            measurement = _Measurement(cluster, pool)
            measurement.check(sessions)
            measurement.warm()
            alone = measurement.alone(ops)
            load = measurement.load(callers, seconds)
            memory_mb, disk_mb = measurement.memory_mb(), measurement.disk_mb()
            restart = measurement.restart()
            returned = measurement.lose_and_return(max(2, callers // 8)) if loses_node else None
            return Growth(sessions, fill_s, alone, load, memory_mb, disk_mb, restart, returned)
    finally:
        cluster.stop()


def _print(one: Growth) -> None:
    alone, load, restart = one.alone, one.load, one.restart
    print(f"{one.sessions:,} sessions (filled in {one.fill_s:.0f} s)")
    print(f"  one op outstanding   p50 {alone.p50_ms:.2f} ms, p99 {alone.p99_ms:.2f} ms")
    print(
        f"  load                 {load.binds_per_s:,.0f} binds/s, p50 {load.latency.p50_ms:.1f} ms,"
        f" p99 {load.latency.p99_ms:.1f} ms, {load.node_cpu_us:.0f} us of the nodes' time each"
    )
    print(f"  memory of a node     {one.memory_mb:.0f} MB beside {one.disk_mb:,.0f} MB of disk")
    print(
        f"  restart after a kill serves after {restart.serving_s:.2f} s, "
        f"has applied all after {restart.replayed_s:.2f} s"
    )
    if one.returned is not None:
        returned = one.returned
        print(
            f"  without its data     caught up after {returned.took_s:.1f} s; writes "
            f"p99 {returned.before.p99_ms:.1f} ms before, {returned.during.p99_ms:.1f} ms "
            f"meanwhile, {returned.writes_per_s_before:,.0f}/s before, "
            f"{returned.writes_per_s_during:,.0f}/s meanwhile; at most "
            f"{returned.receiver_mb_max:.0f} MB at it, {returned.sender_mb_max:.0f} MB elsewhere"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m globaltable.bench.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="sessions")
    parser.add_argument("--round-trip-ms", type=float, default=10.0, help="injected")
    parser.add_argument("--ops", type=int, default=200, help="of each region, one at a time")
    parser.add_argument("--callers", type=int, default=384, help="under load")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load")
    parser.add_argument("--no-loss", action="store_true", help="no node loses its data")
    parser.add_argument("--directory", type=Path, help="keep filled clusters here, by size")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    figures = []
    for sessions in options.sizes:
        directory = options.directory / str(sessions) if options.directory is not None else None
        one = measure(
            sessions,
            round_trip_ms=options.round_trip_ms,
            ops=options.ops,
            callers=options.callers,
            seconds=options.seconds,
            loses_node=not options.no_loss,
            directory=directory,
        )
        _print(one)
        figures.append(one)
    if options.json:
        text = json.dumps([_plain(one) for one in figures], indent=2)
        Path(options.json).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
