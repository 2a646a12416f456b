"""A simulated node: production's core, driver, table worker and watches, on simulated surroundings.

Replaced are the event loop, the two threads, the links and the disk, and nothing else.
"""

import random
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from globaltable.errors import StorageError
from globaltable.members import Members
from globaltable.model import Op, Outcome
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver
from globaltable.server.effects import Effects, ReplicaFailure, Turn
from globaltable.server.watches import Watches
from globaltable.server.worker import TableWorker
from globaltable.store.log import LogImage
from globaltable.topology import Group
from tests.simulation.checks import Checks
from tests.simulation.disk import Platter, SimLog, SimTable
from tests.simulation.threads import LogThread, TableThread
from tests.simulation.timeline import ProcessClock

if TYPE_CHECKING:
    from tests.simulation.scene import Scene

TIMING: Final = Timing(heartbeat_s=0.095, election_min_s=0.3, election_max_s=0.6)
LIMITS: Final = ReplicaLimits(pending_ops=64, log_entries=12, log_bytes=1 << 20)
FLUSH_ROWS: Final = 6
FLUSH_INTERVAL_S: Final = 0.4
_DOWN_AFTER_FAILURE_S: Final = 0.3
_OPERATOR_S: Final = 0.1
_LOOK_S: Final = 0.25


class Ticket(Protocol):
    """Who waits for the end of a call."""

    def submitted(self, life: "Life", group: int, deadline: float) -> None:
        """A process has got it for a group, and is to end it by `deadline` on its clock."""
        ...

    def told(self, node: str, outcomes: Sequence[Outcome]) -> None: ...


class _CheckedCore(NodeCore):
    """The core, with a look at it before anything it says goes on."""

    def __init__(self, checks: Checks, **surroundings: Any) -> None:
        self._checks: Checks | None = None
        super().__init__(**surroundings)
        self._checks = checks

    def _add(self, group: Group, members: Members | None, image: LogImage) -> None:
        super()._add(group, members, image)
        if self._checks is not None:
            self._checks.added(self.node, group.number, self.replicas[group.number])

    def begin(self, now: float) -> Turn:
        turn = super().begin(now)
        assert self._checks is not None
        self._checks.begun(self.node, self, turn)
        return turn

    def complete(self, turns: Iterable[Turn]) -> Effects:
        turns = list(turns)
        effects = super().complete(turns)
        assert self._checks is not None
        self._checks.completed(self.node, self, turns, effects)
        return effects


class Life:
    """One process of a node, from its start to its crash."""

    def __init__(self, node: "SimNode", world: "Scene", number: int) -> None:
        luck = f"{world.schedule.seed} {node.name} {number}"
        rng = random.Random(f"surroundings {luck}")
        self.clock = ProcessClock(world.timeline, rng, node.clock_rate)
        log, table = SimLog(node.platter), SimTable(node.platter, node.crashes)
        self.core = _CheckedCore(
            world.checks,
            topology=world.topology,
            node=node.name,
            log=log,
            table=table,
            timing=world.timing,
            limits=world.limits,
            flush_rows=FLUSH_ROWS,
            flush_interval_s=FLUSH_INTERVAL_S,
            rng=random.Random(luck),
            now=self.clock.time(),
        )
        self.watches = Watches(
            self.core.serving, lambda group, error: self.driver.met_damage(group, error)
        )
        self.driver = Driver(
            core=self.core,
            clock=self.clock,
            send=node.send,
            watches=self.watches,
            on_out_of_service=node.out_of_service,
            on_failure=node.failed,
            on_removed=node.removed,
        )
        writer = LogThread(
            timeline=world.timeline,
            clock=self.clock,
            rng=rng,
            store=log,
            sync_s=lambda: node.sync_s,
            crash=node.crashes,
            on_durable=self.driver.persisted,
            on_failure=node.failed,
        )
        worker = TableWorker(
            core=self.core,
            store=table,
            executor=TableThread(world.timeline, self.clock, rng),
            call_soon=self.clock.call_soon,
            on_failure=node.failed,
            wake=self.driver.wake,
        )
        self.driver.attach(writer, worker)


class SimNode:
    def __init__(self, world: "Scene", name: str) -> None:
        self._world = world
        self.name = name
        self.platter = Platter()
        self._lives = 0
        self.life: Life | None = None
        self.crash_at: str | None = None
        """The point at which the process will die next."""
        self.down_s = 1.0
        self.sync_s = world.schedule.sync_s
        self.clock_rate = 1.0
        self._wanted: Members | None = None
        """The newest it was told of."""
        self._wanted_version = 0

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
        self.crash_at = None
        world.note(self.name, "starts", self._lives)
        life = self.life = Life(self, world, self._lives)
        world.checks.started(self.name, life.core)
        for peer in world.nodes:
            if peer != self.name:
                world.network.connect(self.name, peer)
        if world.schedule.changes:
            self._look_at_members(life)
        life.driver.wake()

    def crash(self) -> None:
        """What is not on the platter is gone. Comes back after `down_s`."""
        if self.life is None:
            return
        world = self._world
        world.note(self.name, "crashes", self.crash_at or "")
        self.life.clock.die()
        self.life = None
        for client in world.libraries:
            client.node_died(self.name)
        self.crash_at = None
        for peer in world.nodes:
            if peer != self.name:
                world.network.reset(self.name, peer)
        world.timeline.after(self.down_s, self.start)

    def crashes(self, point: str) -> bool:
        """The process is at a point at which it may be made to die; whether it did."""
        if self.crash_at != point:
            return False
        self.crash()
        return True

    def failed(self, error: BaseException) -> None:
        """The disk fails the process: it ends, as `server.node` does, and is started again.

        Anything else that production would end for is a finding.
        """
        if not isinstance(error, StorageError):
            raise error
        self._world.note(self.name, "fails", error)
        self.down_s = _DOWN_AFTER_FAILURE_S
        self.crash()

    def out_of_service(self, failure: ReplicaFailure) -> None:
        self._world.note(self.name, "out of service", failure.group, failure.reason)
        self._world.timeline.after(_OPERATOR_S, self._rebuild, failure.group)

    def lacks(self, group: int) -> bool:
        """Whether its replica of a group is damaged, or not yet whole again."""
        state = self.platter.states.get(group)
        damaged = (self.name, group) in self._world.checks.damaged
        wiped = self._wipes and state is not None and state.joining
        return damaged or wiped or (state is not None and state.rebuilding)

    @property
    def _wipes(self) -> bool:
        """Who joins is told that it is wanted only where members change."""
        return self._world.schedule.wipes and bool(self._world.schedule.changes)

    def _rebuild(self, group: int) -> None:
        """The operator stops the node, discards what is damaged, and starts it."""
        if self.life is None:
            self._world.timeline.after(_OPERATOR_S, self._rebuild, group)
        elif group in self.life.core.failures:
            self._world.note(self.name, "is to rebuild", group)
            self.down_s = _OPERATOR_S
            self.crash()
            self.platter.discard(group, joins=self._wipes)
            self._world.checks.damaged.discard((self.name, group))
            self._world.rebuilds += 1

    # --- members ---------------------------------------------------------------------------------

    def told_of_members(self, version: int, wanted: Members) -> None:
        """The newer wins."""
        if version > self._wanted_version:
            self._wanted_version, self._wanted = version, wanted
        if self.life is not None:
            self.life.clock.run(self._arrange_members, self.life)

    def removed(self, group: int) -> None:
        self._world.note(self.name, "is removed from", group)
        if self.life is not None:
            self.life.clock.call_soon(self._arrange_members, self.life)

    def _look_at_members(self, life: Life) -> None:
        """At times, as a node does that compares what it holds with the topology it knows."""
        if self.life is life:
            life.clock.run(self._arrange_members, life)
            self._world.timeline.after(_LOOK_S, self._look_at_members, life)

    def _arrange_members(self, life: Life) -> None:
        """Hold what is to be held here, and discard what the group can do without."""
        core, wanted = life.core, self._wanted
        for group in self._world.topology.groups:
            number = group.number
            replica = core.replicas.get(number)
            gone = replica is not None and replica.is_removed
            if wanted is None and not gone:
                continue
            is_wanted = wanted is not None and self.name in wanted
            unwanted = replica is not None and replica.is_joining and not is_wanted
            if gone or unwanted:
                self._world.note(self.name, "discards", number)
                core.remove_replica(number)
                replica = None
            if replica is None and is_wanted and number not in core.failures:
                self._world.note(self.name, "joins", number)
                core.add_replica(group, None)
            preferred = group.preferred if wanted and group.preferred in wanted.voters else None
            core.set_wanted(number, wanted, preferred)
        life.driver.wake()

    def pause(self) -> None:
        if self.life is not None:
            self.life.clock.pause()

    def resume(self) -> None:
        if self.life is not None:
            self.life.clock.resume()

    def jump(self, seconds: float) -> None:
        """Its monotonic clock leaps, as that of a machine that was suspended may."""
        if self.life is not None:
            self.life.clock.jump(seconds)
            self.life.clock.run(self.life.driver.wake)

    # --- what comes and goes ---------------------------------------------------------------------

    def send(self, peer: str, frame: bytes) -> None:
        self._world.network.send(self.name, peer, frame)

    def frame_arrived(self, sender: str, payload: bytes) -> None:
        self._world.note(self.name, "receives", sender, len(payload), zlib.crc32(payload))
        if self.life is not None:
            self.life.clock.run(self._receive, self.life, sender, payload)

    def link_changed(self, peer: str, up: bool) -> None:
        if self.life is not None:
            self._world.note(self.name, "link", peer, up)
            self.life.clock.run(self._set_connected, self.life, peer, up)

    def submit(self, group: int, ops: Sequence[Op], ticket: Ticket, patience_s: float) -> None:
        """Ops of one group, or a read of it. Nobody hears of it if there is no process."""
        if self.life is not None:
            self.life.clock.run(self._submit, self.life, group, ops, ticket, patience_s)

    def _receive(self, life: Life, sender: str, payload: bytes) -> None:
        life.core.receive(sender, payload)
        life.driver.wake()

    def _set_connected(self, life: Life, peer: str, up: bool) -> None:
        life.core.set_connected(peer, up)
        life.driver.wake()

    def _submit(
        self, life: Life, group: int, ops: Sequence[Op], ticket: Ticket, patience_s: float
    ) -> None:
        deadline = life.clock.time() + patience_s
        if ops:
            group = life.core.routes.group_of(ops[0].name)
        ticket.submitted(life, group, deadline)

        def told(_positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
            ticket.told(self.name, outcomes)

        if ops:
            life.driver.submit(ops, deadline, told)
        else:
            life.driver.submit_read(group, deadline, told)
