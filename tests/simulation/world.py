"""One run: an event queue, nodes on it, and the faults of a schedule.

Everything that happens is an event at a simulated time; ties go by the order in which events were
made. Nothing else decides: no thread, no wall clock, no hash seed.
"""

import hashlib
import heapq
import random
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from types import ModuleType
from typing import Any, Final, NamedTuple

from globaltable import history, limits
from globaltable.errors import ProtocolError
from globaltable.group import Ready, ReplicaLimits
from globaltable.proposals import Settled
from globaltable.raft import guard, progress
from globaltable.raft.adaptor import Timing
from globaltable.raft.transfer import EndRead, InstallSnapshot, ReadChunk, StageChunk
from globaltable.server.core import Effects, FlushJob, GroupJob, NodeCore, Turn
from globaltable.store.table import SnapshotSource
from globaltable.topology import Topology, spread
from tests.simulation.checks import Checks, Violation, require
from tests.simulation.clients import Attempt, Client
from tests.simulation.disk import Platter, SimLog, SimTable
from tests.simulation.network import Network
from tests.simulation.schedule import FAULT_SECONDS, LEADER, NODES, Fault, Schedule

TIMING: Final = Timing(heartbeat_s=0.08, election_min_s=0.3, election_max_s=0.6)
LIMITS: Final = ReplicaLimits(pending_ops=64, log_entries=12, log_bytes=1 << 20)
FLUSH_ROWS: Final = 6
FLUSH_INTERVAL_S: Final = 0.4
SMALL_LIMITS: Final[tuple[tuple[ModuleType, str, int], ...]] = (
    (history, "HISTORY_OPS_MAX", 400),
    (limits, "BATCH_OPS_MAX", 4),
    (limits, "APPEND_BYTES_MAX", 512),
    (progress, "IN_FLIGHT_BYTES_MAX", 2_048),
    (guard, "UNCOMMITTED_ENTRIES_MAX", 24),
)
"""Instead of production's bounds, so that every one of them is met: histories forget, appends are
split, windows fill."""
RECOVERY_S: Final = 30.0
TRACE_LINES: Final = 300
EVENTS_MAX: Final = 400_000
_TURN_PAUSE_S: Final = 0.0002
_JOB_S: Final = 0.003


class Result(NamedTuple):
    seed: int
    violation: str | None
    trace: list[str]
    digest: str
    events: int
    seconds: float
    """Simulated."""
    told: int
    """Outcomes."""
    installs: int
    """Of snapshots."""
    elections: int


@dataclass(slots=True)
class _Life:
    """One process of a node, from its start to its crash."""

    core: NodeCore
    log: SimLog
    table: SimTable
    inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    """What came while the process was paused."""
    waiting: list[Turn] = field(default_factory=list)
    """Turns that wait for the disk."""
    writing: list[Turn] = field(default_factory=list)
    """Turns that are being persisted, in one transaction."""
    stalled: list[Turn] = field(default_factory=list)
    """Turns that became durable while the process was paused."""
    jobs: deque[GroupJob | FlushJob] = field(default_factory=deque)
    working: bool = False
    sources: dict[tuple[int, str, int], SnapshotSource] = field(default_factory=dict)
    waking_at: float = float("inf")


class SimNode:
    """A node: its core, the loop that drives it, and its table's worker."""

    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self.name = name
        self._platter = Platter()
        self._lives = 0
        self.life: _Life | None = None
        self.paused = False
        self.crash_at: str | None = None
        self.down_s = 1.0
        self.sync_s = world.schedule.sync_s

    @property
    def reachable(self) -> bool:
        return self.life is not None

    @property
    def core(self) -> NodeCore | None:
        return self.life.core if self.life is not None else None

    # --- life and death --------------------------------------------------------------------------

    def start(self) -> None:
        if self.life is not None:
            return
        world = self._world
        self._lives += 1
        log, table = SimLog(self._platter), SimTable(self._platter)
        core = NodeCore(
            topology=world.topology,
            node=self.name,
            log=log,
            table=table,
            timing=TIMING,
            limits=LIMITS,
            flush_rows=FLUSH_ROWS,
            flush_interval_s=FLUSH_INTERVAL_S,
            rng=random.Random(f"{world.schedule.seed} {self.name} {self._lives}"),
            now=world.now,
        )
        self.life = _Life(core, log, table)
        self.crash_at = None
        world.note(self.name, "starts", self._lives)
        world.checks.started(self.name, core)
        for peer in world.nodes:
            if peer != self.name:
                world.network.connect(self.name, peer)
        self._wake(self.life)

    def crash(self) -> None:
        """What is not on the platter is gone. Comes back after `down_s`."""
        if self.life is None:
            return
        world = self._world
        world.note(self.name, "crashes", self.crash_at or "")
        self.life = None
        self.crash_at = None
        for peer in world.nodes:
            if peer != self.name:
                world.network.reset(self.name, peer)
        world.after(self.down_s, self.start)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        if self.life is not None:
            inbox, self.life.inbox = self.life.inbox, []
            for action, args in inbox:
                action(*args)
            stalled, self.life.stalled = self.life.stalled, []
            if stalled:
                self._persisted(self.life, stalled)
            self._wake(self.life)

    # --- what comes ------------------------------------------------------------------------------

    def frame_arrived(self, sender: str, payload: bytes) -> None:
        self._world.note(self.name, "receives", sender, len(payload), zlib.crc32(payload))
        self._input(self._receive, sender, payload)

    def link_changed(self, peer: str, up: bool) -> None:
        if self.life is not None:
            self._world.note(self.name, "link", peer, up)
            self._input(self.life.core.set_connected, peer, up)

    def submit(self, attempt: Attempt) -> None:
        if self.life is not None:
            self._input(self._submit, attempt)

    def _receive(self, sender: str, payload: bytes) -> None:
        assert self.life is not None
        self.life.core.receive(sender, payload)

    def _submit(self, attempt: Attempt) -> None:
        assert self.life is not None
        ops = [] if attempt.op is None else [attempt.op]
        attempt.at_least = self._world.checks.acknowledged.get(attempt.group, 0)
        deadline = self._world.now + attempt.patience_s
        if not self.life.core.submit(attempt.group, ops, attempt, deadline):
            attempt.client.overloaded(self.name, attempt)

    def _input(self, action: Callable[..., None], *args: Any) -> None:
        """Handed in at once, also while a turn is being persisted, as the node's loop does."""
        life = self.life
        if life is None:
            return
        if self.paused:
            life.inbox.append((action, args))
        else:
            action(*args)
            self._wake(life)

    # --- turns -----------------------------------------------------------------------------------

    def _wake(self, life: _Life) -> None:
        if life is not self.life or self.paused:
            return
        world = self._world
        turn = life.core.begin(world.now)
        world.checks.begun(self.name, life.core, turn)
        if turn.persisting:
            life.waiting.append(turn)
            self._write(life)
        at_once = [turn.stepped[n] for n in turn.stepped if n not in turn.persisting]
        self._take_effect(life, turn.effects, at_once)

    def _write(self, life: _Life) -> None:
        """Everything that waits, in one transaction, once the disk is free."""
        if life.writing or not life.waiting:
            return
        world = self._world
        life.writing, life.waiting = life.waiting, []
        world.note(self.name, "writes", sum(len(turn.writes) for turn in life.writing))
        world.after(self.sync_s * (0.5 + world.rng.random()), self._persist, life)

    def _persist(self, life: _Life) -> None:
        if life is not self.life:
            return
        if self.crash_at == "crash before the write":
            self.crash()
            return
        turns = life.writing
        life.log.commit([write for turn in turns for write in turn.writes])
        if self.crash_at == "crash after the write":
            self.crash()
            return
        if self.crash_at == "crash after a vote" and self._has_voted(turns):
            # The vote leaves, but the process does not live to remember giving it.
            self._persisted(life, turns)
            self.crash()
            return
        self._persisted(life, turns)

    def _has_voted(self, turns: list[Turn]) -> bool:
        writes = [write for turn in turns for write in turn.writes]
        votes = [write.hard_state for write in writes if write.hard_state is not None]
        return any(vote.voted_for not in (None, self.name) for vote in votes)

    def _persisted(self, life: _Life, turns: list[Turn]) -> None:
        if self.paused:
            life.stalled = turns
            return
        effects = life.core.complete(turns)
        life.writing = []
        self._world.checks.completed(self.name, life.core, turns, effects)
        self._take_effect(life, effects, [r for turn in turns for r in turn.persisting.values()])
        self._write(life)

    def _take_effect(self, life: _Life, effects: Effects, readies: list[Ready]) -> None:
        world = self._world
        for ready in readies:
            if ready.committed:
                world.note(self.name, "applies", *ready.committed[-1][1:])
        self._settle(effects.settled)
        for peer, frame in effects.frames:
            world.network.send(self.name, peer, frame)
        life.jobs.extend(effects.jobs)
        self._work(life)
        if life.core.has_work:
            self._wake_after(life, _TURN_PAUSE_S)
        else:
            self._wake_after(life, max(0.0, life.core.next_tick - world.now))

    def _wake_after(self, life: _Life, seconds: float) -> None:
        at = self._world.now + seconds
        if at < life.waking_at or life.waking_at <= self._world.now:
            life.waking_at = at
            self._world.after(seconds, self._wake_due, life, at)

    def _wake_due(self, life: _Life, at: float) -> None:
        if life.waking_at == at:
            life.waking_at = float("inf")
            self._wake(life)

    def _settle(self, settled: list[Settled]) -> None:
        assert self.life is not None
        for attempt, outcomes in settled:
            self._world.note(self.name, "answers", attempt, *outcomes)
            if attempt.op is None:
                if outcomes == ():
                    replica = self.life.core.replicas[attempt.group]
                    checks = self._world.checks
                    checks.read(self.name, attempt.group, attempt, replica, attempt.at_least)
            else:
                attempt.client.answered(self.name, attempt, outcomes[0])

    # --- the table's worker ----------------------------------------------------------------------

    def _work(self, life: _Life) -> None:
        if life is not self.life or life.working or not life.jobs:
            return
        life.working = True
        seconds = _JOB_S * (0.3 + 3 * self._world.rng.random() ** 3)
        self._world.after(seconds, self._carry_out, life, life.jobs.popleft())

    def _carry_out(self, life: _Life, job: GroupJob | FlushJob) -> None:
        if life is not self.life:
            return
        life.working = False
        if isinstance(job, FlushJob):
            life.table.flush(job.flushes)
            self._input(life.core.flushed)
        else:
            self._world.note(self.name, "does", type(job.job).__name__, job.group)
            self._carry_out_for_group(life, job)
        self._work(life)

    def _carry_out_for_group(self, life: _Life, job: GroupJob) -> None:
        number, core = job.group, life.core
        match job.job:
            case ReadChunk(peer, transfer) as read:
                source = life.sources.get((number, peer, transfer))
                if source is None:
                    source = life.sources[number, peer, transfer] = life.table.open_snapshot(number)
                self._input(core.chunk_read, number, read, source.state, source.next_chunk())
            case EndRead(peer, transfer):
                source = life.sources.pop((number, peer, transfer), None)
                if source is not None:
                    source.close()
            case StageChunk() as stage:
                try:
                    life.table.stage(number, stage.number, stage.payload)
                except ProtocolError:
                    self._input(core.chunk_refused, number, stage)
                else:
                    self._input(core.chunk_staged, number, stage)
            case InstallSnapshot() as install:
                life.table.install(number, install.state)
                if self.crash_at == "crash after an install":
                    self.crash()
                else:
                    self._input(core.snapshot_installed, number)


class World:
    """All of one run."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.now = 1_000.0
        self._end_of_faults = self.now + FAULT_SECONDS
        self.rng = random.Random(f"world {schedule.seed}")
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self.events = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._trace: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=TRACE_LINES)
        self.checks = Checks(LIMITS)
        names = list(NODES[: schedule.nodes])
        self.topology: Topology = spread(
            "simulated", names, schedule.groups, schedule.nodes, slots=16
        )
        self.network = Network(
            names, random.Random(f"network {schedule.seed}"), lambda: self.now, self.after
        )
        self.network.unruly = schedule.unruly
        for a, b in _pairs(names):
            self.network.set_delay(a, b, schedule.delay_s * (0.3 + self.rng.random()))
        self.nodes = {name: SimNode(self, name) for name in names}
        for name, node in self.nodes.items():
            self.network.join(name, node)
        self.clients = [Client(self, number) for number in range(schedule.clients)]

    # --- time ------------------------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action, args))

    def note(self, who: str, what: str, *details: Any) -> None:
        """A line of the trace. All of them make the digest; the last ones are kept."""
        line = (who, what, *details)
        self._trace.append((self.now, line))
        self._digest.update(repr((self.now, line)).encode())

    def _run_until(self, end: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= end:
            self.now, _, action, args = heapq.heappop(queue)
            self.events += 1
            action(*args)
        self.now = end
        require(self.events < EVENTS_MAX, "the run does not end: too many events by", self.now)

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> Result:
        violation: str | None = None
        with _small_limits():
            try:
                self._run()
            except Exception as error:
                violation = f"{type(error).__name__}: {error}"
                if not isinstance(error, Violation):
                    error.add_note(f"seed {self.schedule.seed}")
                    violation = _with_place(error)
        seconds = self.now - (self._end_of_faults - FAULT_SECONDS)
        return Result(
            self.schedule.seed,
            violation,
            [f"{at:9.4f} {' '.join(map(str, line))}" for at, line in self._trace],
            self._digest.hexdigest(),
            self.events,
            seconds,
            self.checks.told,
            self.checks.installs,
            self.checks.elections,
        )

    def _run(self) -> None:
        for node in self.nodes.values():
            node.start()
        for client in self.clients:
            client.start(self._end_of_faults)
        for fault in self.schedule.faults:
            self.after(fault.at, self._begin_fault, fault)
        self._run_until(self._end_of_faults)
        self._heal()
        self._recover()

    def _begin_fault(self, fault: Fault) -> None:
        names = list(self.nodes)
        name = self._leader() if fault.node == LEADER else names[fault.node % len(names)]
        others = [other for other in names if other != name]
        other = others[fault.other % len(others)]
        node = self.nodes[name]
        self.note("fault", fault.kind, name, other, fault.seconds)
        match fault.kind:
            case "reset":
                self.network.reset(name, other)
            case "cut":
                self._cut(name, other, fault.seconds)
            case "isolate":
                for peer in self.nodes:
                    if peer != name:
                        self._cut(name, peer, fault.seconds)
                        self._cut(peer, name, fault.seconds)
            case "pause":
                node.pause()
                self.after(fault.seconds, node.resume)
            case "crash":
                node.down_s = fault.seconds
                node.crash()
            case "crash all":
                for each in self.nodes.values():
                    each.down_s = fault.seconds * (0.5 + self.rng.random())
                    each.crash()
            case "crash after a vote":
                node.down_s = 0.01
                node.crash_at = fault.kind
            case "crash before the write" | "crash after the write" | "crash after an install":
                node.down_s = fault.seconds
                node.crash_at = fault.kind
            case "hand over" if node.core is not None:
                for replica in node.core.replicas.values():
                    replica.hand_over()
            case "slow disk":
                node.sync_s = 0.1
                self.after(fault.seconds, self._quicken, node)
            case "drain" if node.core is not None:
                # As a stop in good order does; then the process ends.
                node.core.drain()
                node.down_s = 0.3
                self.after(fault.seconds, node.crash)
            case _:
                pass

    def _leader(self) -> str:
        """Who leads the first group; if several believe they do, the latest elected."""
        terms = {
            name: node.core.replicas[0].guard.term if node.core.replicas[0].is_leader else -1
            for name, node in self.nodes.items()
            if node.core is not None
        }
        return max(terms, key=lambda name: terms[name], default="a")

    def _quicken(self, node: SimNode) -> None:
        node.sync_s = self.schedule.sync_s

    def _cut(self, a: str, b: str, seconds: float) -> None:
        self.network.cut(a, b)
        self.after(seconds, self.network.heal, a, b)
        if seconds > 0.5 and self.rng.random() < 0.7:
            self.after(0.3 + self.rng.random(), self.network.reset, a, b)

    # --- the end ---------------------------------------------------------------------------------

    def _heal(self) -> None:
        self.note("fault", "all is healed")
        self.network.unruly = False
        for a, b in _pairs(list(self.nodes)):
            self.network.heal(a, b)
            self.network.heal(b, a)
            self.network.reset(a, b)
        for node in self.nodes.values():
            node.crash_at = None
            node.sync_s = self.schedule.sync_s
            node.resume()
            node.start()

    def _recover(self) -> None:
        """Liveness: every node's callers are served again, and all replicas become equal."""
        end = self.now + RECOVERY_S
        probe = Client(self, len(self.clients))
        while self.now < end:
            self._run_until(self.now + 0.25)
            if all(node.core is not None for node in self.nodes.values()) and not probe.probing:
                probe.probe()
            if probe.probed and self._idle() and self._equal():
                break
        else:
            raise Violation(f"not recovered {RECOVERY_S} s after the last fault: {self._state()}")
        self.checks.ops_told_not_to_have_happened()

    def _idle(self) -> bool:
        return all(client.idle for client in self.clients)

    def _equal(self) -> bool:
        return all(
            self.checks.recovered(name, number, replica)
            for name, node in self.nodes.items()
            for number, replica in (node.core.replicas if node.core else {}).items()
        )

    def _state(self) -> str:
        lines = [f"clients idle: {self._idle()}"]
        for name, node in self.nodes.items():
            for number, replica in (node.core.replicas if node.core else {}).items():
                raft = replica.guard
                lines.append(
                    f"{name}/{number}: {raft.role.name} of {raft.leader} in term {raft.term}, "
                    f"commit {raft.commit_index}, log {raft.journal.first_index}.."
                    f"{raft.journal.last_index}, applied {replica.table.applied} of "
                    f"{self.checks.model(number).last}"
                )
        return "\n  ".join(lines)


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    return [(a, b) for a in names for b in names if a < b]


def _with_place(error: Exception) -> str:
    traceback = error.__traceback__
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return f"{type(error).__name__}: {error} ({' > '.join(places[-6:])})"


@contextmanager
def _small_limits() -> Iterator[None]:
    kept = [(module, name, getattr(module, name)) for module, name, _ in SMALL_LIMITS]
    for module, name, value in SMALL_LIMITS:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def run(schedule: Schedule) -> Result:
    """One run of a schedule, from its first event to its recovery or its first violation."""
    return World(schedule).run()
