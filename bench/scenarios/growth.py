"""What it costs that a table has grown: the same figures at 10^5, 10^6 and 10^7 sessions.

For each size a cluster is filled (`fill`), started, and measured: bind latency with one op
outstanding, and throughput; the memory of a node, without the page cache of its table, and its
disk; the restart of a node that was killed right after the load; and, if asked for, the return of a
node that lost all its data: how long it takes by snapshots, how much memory both sides use, and
what it does to the writes of the others meanwhile.

Tables are read once before the load, so that they are in the page cache, as they are on a node that
has run for long; fresh keys are scattered over the table as the filled ones are.
"""

import asyncio
import os
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from globaltable.bench import workers
from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.fill import fill, filled_key, filled_unit
from globaltable.bench.findings import Findings
from globaltable.bench.processes import HighestMemory, cpu_s, disk_mb, memory_mb
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage, comma_separated, figures_of
from globaltable.bench.systems.globaltable import TABLE, GlobalTableRunning, GlobalTableSystem
from globaltable.client import GlobalTable
from globaltable.errors import GlobalTableError
from globaltable.store import identity, replacement
from globaltable.testing import LocalCluster

NAME: Final = "growth"
_CHECKED: Final = 500
_BOUND_AGAIN: Final = 25
_PHASE_S: Final = 4.0
_RETURN_S_MAX: Final = 1_200.0
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.02
_READ_BYTES: Final = 1 << 22


class NotAsFilled(GlobalTableError):
    """A filled session is not there, or was bound a second time."""


class NotBack(GlobalTableError):
    """The node did not come back in time."""


def check_filled(addresses: Sequence[str], sessions: int) -> None:
    """Ask every node for some filled sessions, and try to bind some again. `NotAsFilled`."""
    for address in addresses:
        asyncio.run(_check_filled(address, sessions))


async def _check_filled(address: str, sessions: int) -> None:
    numbers = range(0, sessions, max(1, sessions // _CHECKED))
    async with GlobalTable.connect([address], table=TABLE, discover=False) as client:
        found = await client.get_many([filled_key(number) for number in numbers])
        for number in numbers:
            binding = found.get(filled_key(number))
            if binding is None or (binding.unit, binding.version) != (filled_unit(number), 1):
                raise NotAsFilled(f"session {number} is {binding} at {address}")
        for number in numbers[:: max(1, len(numbers) // _BOUND_AGAIN)]:
            again = await client.bind(filled_key(number), "none")
            if again.created or again.unit != filled_unit(number):
                raise NotAsFilled(f"session {number}, bound again at {address}, is {again}")


class Grown:
    """A running cluster that was filled; the last of its regions loses its node, or its data."""

    def __init__(self, stage: Stage, running: GlobalTableRunning) -> None:
        self._stage = stage
        self._running = running
        self._cluster = running.cluster
        *self._staying, self._away = stage.network.regions

    def warm(self) -> None:
        """Have the tables in the page cache."""
        buffer = bytearray(_READ_BYTES)
        for region in self._stage.network.regions:
            table = self._cluster.data_dir(region) / "table" / "data.mdb"
            with table.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def load(self, callers: int, seconds: float, regions: Sequence[str] = ()) -> Findings:
        """Callers that await each bind, of fresh keys scattered over the table."""
        regions = regions or self._stage.network.regions
        activity = ClosedLoop(max(1, callers // len(regions)), seconds, scattered=True)
        placements = [
            workers.Placement(region, self._running.target(region), activity) for region in regions
        ]
        label = self._stage.label("grown")
        found = workers.run(self._stage.network, label, placements, seconds + _PATIENCE_S)
        return Findings.total(list(found.values()))

    def node_cpu_s(self) -> float:
        return sum(cpu_s(pid) for pid in self._pids().values())

    def size(self) -> dict[str, float]:
        directory = self._cluster.data_dir(self._stage.network.regions[0])
        return {
            "memory_mb": max(memory_mb(pid) for pid in self._pids().values()),
            "disk_mb": disk_mb(directory),
        }

    def restart(self) -> dict[str, float]:
        """Killed right after a load, so that there is a log to be replayed."""
        self._cluster.kill(self._away)
        wanted = self._applied()
        began_s = time.monotonic()
        self._cluster.start(self._away)
        serving_s = self._wait(began_s, self._serves)
        return {
            "restart_serving_s": serving_s,
            "restart_replayed_s": self._wait(began_s, lambda: self._has(wanted)),
        }

    def lose_data(self, callers: int) -> dict[str, float]:
        """What the others' writes were before, and are until the node is back."""
        before = self.load(callers, 2 * _PHASE_S, self._staying)
        self._cluster.kill(self._away)
        self._discard()
        wanted = self._applied()
        began_s = time.monotonic()
        self._cluster.start(self._away)
        took_s: list[float] = []
        waiting = threading.Thread(
            target=lambda: took_s.append(self._wait(began_s, lambda: self._has(wanted))),
            daemon=True,  # so that it does not outlive a run that is broken off
        )
        phases: list[Findings] = []
        with HighestMemory(self._pids) as highest:
            waiting.start()
            while waiting.is_alive():
                phases.append(self.load(callers, _PHASE_S, self._staying))
            waiting.join()
        if not took_s:
            raise NotBack(f"the node of {self._away} is not back after {_RETURN_S_MAX:g} s")
        meanwhile = Findings.total(phases)
        return {
            "return_s": took_s[0],
            "p99_before_ms": before.answered.percentile_ms(99),
            "p99_meanwhile_ms": meanwhile.answered.percentile_ms(99),
            "failed_meanwhile": float(meanwhile.failed),
            "receiver_mb_max": highest.mb[self._away],
            "sender_mb_max": max(highest.mb[region] for region in self._staying),
        }

    def _pids(self) -> Mapping[str, int]:
        cluster = self._cluster
        return {r: cluster.pid(r) for r in cluster.regions if cluster.is_running(r)}

    def _discard(self) -> None:
        config, directory = self._cluster.config, self._cluster.data_dir(self._away)
        held = identity.claim(
            directory,
            cluster=config.cluster,
            node=self._away,
            groups=config.groups_in_all,
            slots=config.slots,
        )
        try:
            replacement.discard_all(directory, config.groups_in_all)
        finally:
            os.close(held)

    def _applied(self) -> dict[int, int]:
        groups = self._cluster.status(self._staying[0], 10.0).groups
        return {group.group: group.applied_revision for group in groups}

    def _serves(self) -> bool:
        with grpc.insecure_channel(self._cluster.addresses[self._away]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _has(self, wanted: Mapping[int, int]) -> bool:
        groups = self._cluster.status(self._away).groups
        return len(groups) == len(wanted) and all(
            group.applied_revision >= wanted[group.group] and not group.rebuilding
            for group in groups
        )

    def _wait(self, began_s: float, condition: Callable[[], bool]) -> float:
        while time.monotonic() - began_s < _RETURN_S_MAX:
            try:
                if condition():
                    return time.monotonic() - began_s
            except grpc.RpcError:
                pass  # it does not listen yet, or has better things to do
            time.sleep(_POLL_S)
        raise NotBack(f"the node of {self._away} is not back after {_RETURN_S_MAX:g} s")


def filled_cluster(sessions: int) -> Callable[[LocalCluster], None]:
    """What makes of a cluster that has not been started one of so many sessions."""
    return lambda cluster: fill(cluster.config, sessions, TABLE)


def _measured(
    stage: Stage, running: GlobalTableRunning, options: Namespace, sessions: int, repeat: int
) -> Measurement:
    check_filled(list(running.cluster.addresses.values()), sessions)
    grown = Grown(stage, running)
    grown.warm()
    alone = grown.load(1, options.seconds / 2, stage.network.regions[:1])
    spent_s = grown.node_cpu_s()
    loaded = grown.load(options.callers, options.seconds)
    spent_s = grown.node_cpu_s() - spent_s
    figures = figures_of(loaded, 0.0, options.seconds) | grown.size()
    figures["alone_p50_ms"] = alone.answered.percentile_ms(50)
    figures["alone_p99_ms"] = alone.answered.percentile_ms(99)
    figures["node_cpu_us_per_bind"] = spent_s / max(1, loaded.answers) * 1e6
    figures |= grown.restart()
    if options.lose_data:
        figures |= grown.lose_data(max(2, options.callers // 8))
    latencies = {"alone": alone.answered, "load": loaded.answered}
    case = {"sessions": sessions, "callers": options.callers}
    return Measurement(NAME, GlobalTableSystem.name, case, repeat, figures, latencies)


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    for repeat in range(stage.repeats):
        for sessions in options.sessions:
            stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {sessions:,} sessions")
            system = GlobalTableSystem(prepare=filled_cluster(sessions))
            with system.start(stage.network) as running:
                yield _measured(stage, running, options, sessions, repeat)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sessions",
        type=comma_separated(int),
        default=[100_000, 1_000_000, 10_000_000],
        help="there before (100000,1000000,10000000)",
    )
    parser.add_argument("--callers", type=int, default=384, help="under load (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load (%(default)s)")
    parser.add_argument(
        "--lose-data", action="store_true", help="a node loses its data, and is caught up"
    )


SCENARIO: Final = Scenario(
    NAME,
    "the same at 10^5, 10^6 and 10^7 sessions; memory, disk, restart, and a lost disk",
    measure,
    add_options,
    short=("--seconds", "10", "--sessions", "100000,1000000"),
    repeats_in_all=1,
)
