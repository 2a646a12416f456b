"""What one of a thing costs a cluster: a bind, a get, a session, an idle replica of a group.

Real nodes, one in each region, on this machine. Processor time is what the kernel has counted for
the node processes, their threads included, and the callers' apart; what regions send each other is
what the kernel has counted on the connections between nodes, both ways, and so is what disks were
given. Callers are processes of their own, in every region, and ask the node of their region.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from globaltable.bench import workers
from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.activities.gets import Gets
from globaltable.bench.activities.registry import AnyActivity
from globaltable.bench.findings import Findings
from globaltable.bench.processes import cpu_s, disk_mb, memory_mb
from globaltable.bench.scenarios.growth import check_filled, filled_cluster
from globaltable.bench.scenarios.scenario import Stage
from globaltable.bench.sockets import Carried, carried
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem
from globaltable.server.config import Timeouts

PATIENCE_S: Final = 60.0
_SETTLE_S: Final = 1.0
_QUIET_S: Final = 2.0
"""After a start, until what a start brings with it is over."""
_KEYS: Final = 2_000
GETS_BATCH: Final = 200


class Cost(NamedTuple):
    what: str
    case: str
    """What was varied: "callers 64"."""
    figures: Mapping[str, float]
    """By name, with the unit in it."""


@dataclass(frozen=True, slots=True)
class _Meter:
    """What the nodes have taken so far."""

    at_s: float
    """CLOCK_MONOTONIC."""
    cpu_s: float
    carried: Carried
    disk_bytes: int
    """Given to the disks."""
    entries: int
    """Of all groups' logs, by revision: once each, not once for each replica."""

    @classmethod
    def read(cls, running: GlobalTableRunning) -> "_Meter":
        cluster = running.cluster
        pids = [cluster.pid(node) for node in cluster.nodes]
        peers = {cluster.config.node(node).peer.port for node in cluster.nodes}
        return cls(
            at_s=time.monotonic(),
            cpu_s=sum(map(cpu_s, pids)),
            carried=carried(peers),
            disk_bytes=sum(map(_written_bytes, pids)),
            entries=sum(g.commit_revision for g in cluster.status(cluster.nodes[0]).groups),
        )


def _written_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("write_bytes:")]
    return int(line.split()[1])


class _Load(NamedTuple):
    findings: Findings
    before: _Meter
    after: _Meter

    @property
    def node_cpu_s(self) -> float:
        return self.after.cpu_s - self.before.cpu_s

    @property
    def took_s(self) -> float:
        return self.after.at_s - self.before.at_s


def _load(
    stage: Stage, running: GlobalTableRunning, activity: AnyActivity, seconds: float
) -> _Load:
    """Play an activity in every region; preparations are not counted."""
    placements = workers.everywhere(stage.targets(running), activity)
    with workers.team(stage.network, stage.label("costs"), placements) as team:
        time.sleep(_SETTLE_S)
        before = _Meter.read(running)
        team.go()
        findings = team.findings(seconds + PATIENCE_S)
        after = _Meter.read(running)
    return _Load(Findings.total(list(findings.values())), before, after)


def binds(
    stage: Stage, callers: Sequence[int], seconds: float, timeouts: Timeouts, groups: int | None
) -> Iterator[Cost]:
    """Of new keys, by callers in all regions together, each of which awaits the outcome. What the
    nodes take while nobody asks is measured first, and `above_idle` is without it."""
    regions = len(stage.network.regions)
    system = GlobalTableSystem(timeouts=timeouts, groups=groups or regions)
    with system.start(stage.network) as running:
        idle_share, _ = _idle_share(running, seconds)
        _load(stage, running, ClosedLoop(max(callers) // regions or 1, _QUIET_S), _QUIET_S)
        for number in callers:
            stage.say(f"binds, {number} callers")
            activity = ClosedLoop(number // regions or 1, seconds)
            load = _load(stage, running, activity, seconds)
            sent = load.after.carried.since(load.before.carried)
            binds = load.findings.answers
            entries = load.after.entries - load.before.entries
            figures = {
                "binds_per_s": binds / load.findings.took_s,
                "p50_ms": load.findings.answered.percentile_ms(50),
                "ops_per_entry": binds / max(1, entries),
                "nodes_cpu_s_per_1000": load.node_cpu_s / binds * 1_000,
                "nodes_cpu_s_per_1000_above_idle": (
                    (load.node_cpu_s - idle_share * load.took_s) / binds * 1_000
                ),
                "callers_cpu_s_per_1000": load.findings.cpu_s / binds * 1_000,
                "peers_payload_bytes_per_bind": sent.payload_bytes / binds,
                "peers_wire_bytes_per_bind": sent.wire_bytes / binds,
                "disk_bytes_per_bind_per_node": (
                    (load.after.disk_bytes - load.before.disk_bytes) / binds / regions
                ),
                "failed": float(load.findings.failed),
            }
            yield Cost("binds", f"{number} callers", figures)


def gets(stage: Stage, seconds: float) -> Iterator[Cost]:
    """Local ones: a key a call, by a few callers and by many, and many keys a call."""
    with GlobalTableSystem().start(stage.network) as running:
        for batch, callers in ((1, 1), (1, 64), (GETS_BATCH, 4)):
            case = f"{callers} callers a region, {batch} keys a call"
            stage.say(f"gets, {case}")
            load = _load(stage, running, Gets(_KEYS, batch, callers, seconds), seconds)
            found = load.findings.answers
            figures = {
                "gets_per_s": found / load.findings.took_s,
                "nodes_cpu_s_per_1000": load.node_cpu_s / found * 1_000,
                "callers_cpu_s_per_1000": load.findings.cpu_s / found * 1_000,
                "failed": float(load.findings.failed),
            }
            yield Cost("gets", case, figures)


def disk(stage: Stage, sessions: Sequence[int]) -> Iterator[Cost]:
    """Of a node whose table holds so many, after a restart and some reads of every part of it."""
    for number in sessions:
        stage.say(f"disk and memory, {number:,} sessions")
        system = GlobalTableSystem(prepare=filled_cluster(number))
        with system.start(stage.network) as running:
            check_filled(list(running.cluster.addresses.values()), number)
            time.sleep(_QUIET_S)
            cluster = running.cluster
            directory = cluster.data_dir(cluster.nodes[0])
            memory = max(memory_mb(cluster.pid(node)) for node in cluster.nodes)
            table_mb, log_mb = disk_mb(directory / "table"), disk_mb(directory / "log")
            figures = {
                "a_nodes_table_mb": table_mb,
                "a_nodes_table_bytes_per_session": table_mb * 1e6 / number,
                "a_nodes_log_mb": log_mb,
                "a_nodes_memory_mb": memory,
                "a_nodes_memory_bytes_per_session": memory * 1e6 / number,
            }
            yield Cost("disk", f"{number:,} sessions", figures)


def _idle_share(running: GlobalTableRunning, seconds: float) -> tuple[float, Carried]:
    """Of a core, for all nodes together while nobody asks; and what they send each other a second,
    in so many seconds."""
    running.wait_led_where_preferred(PATIENCE_S)
    time.sleep(_QUIET_S)
    before = _Meter.read(running)
    time.sleep(seconds)
    after = _Meter.read(running)
    share = (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s)
    return share, after.carried.since(before.carried)


def idle(stage: Stage, groups: Sequence[int], seconds: float, timeouts: Timeouts) -> Iterator[Cost]:
    """Of a cluster that nobody asks anything: what its groups cost by being there. Each case says
    what each replica costs beyond those of the case before: nodes cost something without them."""
    regions = len(stage.network.regions)
    before: tuple[float, float, float] | None = None
    for number in groups:
        stage.say(f"idle, {number} groups")
        with GlobalTableSystem(groups=number, timeouts=timeouts).start(stage.network) as running:
            share, sent = _idle_share(running, seconds)
            cluster = running.cluster
            memory = sum(memory_mb(cluster.pid(node)) for node in cluster.nodes)
        replicas = number * regions
        figures = {
            "nodes_cpu_share": share,
            "nodes_memory_mb": memory,
            "peers_payload_bytes_per_s": sent.payload_bytes / seconds,
            "peers_wire_bytes_per_s": sent.wire_bytes / seconds,
        }
        if before is not None:
            more = replicas - before[0]
            figures["cpu_ms_per_s_and_replica_more"] = (share - before[1]) / more * 1_000
            figures["memory_kb_per_replica_more"] = (memory - before[2]) / more * 1_000
        before = (replicas, share, memory)
        yield Cost("idle", f"{number} groups", figures)
