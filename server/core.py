"""The node without I/O: all replicas of one node, stepped together, one turn at a time.

The node's loop and the simulator drive it in the same way. A turn is:

1. `begin(now)` steps every replica that has something to do. What needs nothing to be persisted
   takes effect at once: `Turn.effects`. If any replica has something to persist, there are
   `Turn.writes`;
2. the driver makes them durable: in order, and all that wait in one transaction (group commit over
   all groups);
3. `complete(turns)` applies what those replicas committed, and returns the effects that waited.

Effects are frames to send, tickets that have ended, changes for the watchers, and jobs for the
table's worker. Several turns may be under way, but a replica that is being persisted is not stepped
again before its turn is complete: what comes for it meanwhile waits, for nothing it could say may
leave earlier. The others do not wait for it. A replica in which an invariant breaks, or that meets
a damaged record, is stopped and reported, and who waits for it is told; the others go on.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from globaltable.errors import (
    ConfigError,
    Corrupt,
    Elsewhere,
    NoQuorum,
    ProtocolError,
    StorageError,
)
from globaltable.group import Ready, Replica
from globaltable.members import Members
from globaltable.model import Op
from globaltable.proposals import Settled
from globaltable.raft.adaptor import Timing
from globaltable.raft.journal import InvariantViolated
from globaltable.raft.transfer import DiscardTable, ReadChunk, StageChunk
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.discards import Discards
from globaltable.server.effects import Effects, FlushJob, GroupJob, ReplicaFailure, Turn
from globaltable.server.flushing import Flushes, FlushSchedule
from globaltable.server.outboxes import Outboxes, frames, post
from globaltable.server.slot_routes import SlotRoutes
from globaltable.slot_steps import Step
from globaltable.store.log import LogImage, LogStore
from globaltable.store.table import SnapshotChunk, TableStore
from globaltable.table_state import TableState
from globaltable.topology import Group, Topology
from globaltable.wire.frames import decode_frame


class NodeCore:
    """All replicas of `node`. See the module's head for the contract."""

    def __init__(
        self,
        *,
        topology: Topology,
        node: str,
        log: LogStore,
        table: TableStore,
        timing: Timing,
        limits: ReplicaLimits,
        flush_rows: int,
        flush_interval_s: float,
        rng: random.Random,
        now: float,
        founding: Sequence[Group] | None = None,
    ) -> None:
        """`founding` are the groups as this node founded them: none if it joined, and those of
        `topology` if they are not given."""
        self._topology = topology
        self.routes = SlotRoutes(topology)
        groups = topology.groups if founding is None else founding
        self._founders = {g.number: Members(g.replicas) for g in groups if node in g.replicas}
        self.node = node
        self._table = table
        schedule = FlushSchedule(flush_rows, flush_interval_s, random.Random(rng.getrandbits(128)))
        self._flushes = Flushes(schedule, now)
        self._timing = timing
        self._limits = limits
        self._rng = rng
        self._now = now
        self._links: dict[str, bool] = {}
        """By peer that is connected, whether it has the same plan."""
        self._discards = Discards()
        self._told_removed: set[int] = set()
        self.replicas: dict[int, Replica] = {}
        self.failures: dict[int, str] = {}
        self.new_failures: list[ReplicaFailure] = []
        self._ended: list[Settled] = []
        self._start(log)
        self._awake: set[int] = set(self.replicas)
        self._persisting: set[int] = set()
        self._draining = False
        self._tick_at = now
        self._installed: list[int] = []

    # --- replicas --------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        return self._topology

    @topology.setter
    def topology(self, topology: Topology) -> None:
        self._topology = topology
        self.routes.set_topology(topology)

    def _start(self, log: LogStore) -> None:
        """The replicas that the topology puts here, and those that the disk has: what was added
        since may have promised something, too."""
        here = {group.number: group for group in self.topology.groups}
        stored = set(log.groups())
        wanted = {number for number, group in here.items() if self.node in group.holders}
        for number in sorted(stored | wanted | set(self._founders)):
            group = here.get(number) or Group(number, ())
            try:
                image = log.load(number)
                if number in stored and not image.entries and image.hard_state.joining:
                    # Its table may not have been discarded before the process ended.
                    self._discards.begin(number, image.hard_state)
                    continue
                self._add(group, self._founders.get(number), image)
            except (StorageError, InvariantViolated, AssertionError) as error:
                self.fail(number, error)

    def _add(self, group: Group, members: Members | None, image: LogImage) -> None:
        self.replicas[group.number] = replica = Replica(
            group=group,
            members=members,
            node=self.node,
            slots=self.topology.slots,
            image=image,
            store=self._table,
            timing=self._timing,
            limits=self._limits,
            rng=random.Random(self._rng.getrandbits(128)),
            now=self._now,
            deal=self.topology.deal_of(group.number),
        )
        self.routes.learn(group.number, replica.table.holdings)
        for peer, same_plan in self._links.items():
            replica.set_connected(peer, True, same_plan=same_plan)

    def add_replica(self, group: Group, members: Members | None) -> None:
        """This node is to hold a replica of a group from now on. `members` are those that found it,
        this node among them, if it is a new one; None for a group that has members already: the
        replica waits for its leader to add it. No replica of it may be here."""
        number = group.number
        if number in self.replicas or number in self.failures:
            raise ConfigError(f"group {number} has a replica on {self.node} already")
        if self._discards.wait(group):
            return
        image = self._discards.take_left(number)
        try:
            self._add(group, members if image is None else None, image or LogImage())
        except (StorageError, InvariantViolated, AssertionError) as error:
            self.fail(number, error)
        self._awake.add(number)

    def remove_replica(self, number: int) -> None:
        """Discard a replica that its group has removed, or that has not yet joined; who waits for
        it is told. Raises `ConfigError` if its group may count on it."""
        replica = self.replicas.get(number)
        if replica is None:
            raise ConfigError(f"group {number} has no replica on {self.node} to remove")
        if not replica.is_removed and not replica.is_joining:
            raise ConfigError(
                f"group {number} counts on its replica on {self.node} ({replica.members}); have "
                "its members changed first, and wait until they are"
            )
        del self.replicas[number]
        self._ended += replica.stop()
        self.routes.forget(number)
        self._awake.discard(number)
        self._told_removed.discard(number)
        self._installed = [group for group in self._installed if group != number]
        hard_state = replica.guard.journal.hard_state
        self._discards.begin(number, hard_state._replace(rebuilding=False, joining=True))

    @property
    def is_discarding(self) -> bool:
        """A replica's log or table is yet to be discarded."""
        return self._discards.is_under_way

    def discarded(self, group: int) -> None:
        """The result of `DiscardTable`."""
        self._table.refresh()
        again = self._discards.end(group)
        if again is not None:
            self.add_replica(again, None)

    def set_wanted(
        self, number: int, members: Members | None, preferred: str | None = None
    ) -> None:
        """What the group's leader, if it is here, is to bring its members to (None: leave them),
        and who should lead it."""
        replica = self.replicas.get(number)
        if replica is not None:
            replica.wanted = members
            replica.preferred = preferred
            self._awake.add(number)

    # --- inputs ----------------------------------------------------------------------------------

    def submit(self, group: int, ops: Sequence[Op], ticket: Any, deadline: float) -> bool:
        """Queue ops of one group; False if its queue is full. See `Replica.submit`."""
        self._awake.add(group)
        return self.replicas[group].submit(ops, ticket, deadline)

    def submit_step(self, group: int, step: Step, ticket: Any, deadline: float) -> bool:
        """Queue a step of a slot's move. See `Replica.submit_step`."""
        self._awake.add(group)
        return self.replicas[group].submit_step(step, ticket, deadline)

    def receive(self, peer: str, payload: bytes | memoryview) -> None:
        """One frame of a peer. Raises `ProtocolError` if no peer may send it."""
        for group, message in decode_frame(payload):
            replica = self.replicas.get(group)
            if replica is None:
                # It has failed, has been removed, or is yet to be added: the peer cannot know.
                continue
            try:
                if replica.receive(peer, message):
                    self._awake.add(group)
            except (InvariantViolated, AssertionError) as error:
                self.fail(group, error)

    def set_connected(self, peer: str, up: bool, *, same_plan: bool = True) -> None:
        """A peer came or went. `same_plan`: it would have the same nodes lead the same groups."""
        if up:
            self._links[peer] = same_plan
        else:
            self._links.pop(peer, None)
        for replica in self.replicas.values():
            replica.set_connected(peer, up, same_plan=same_plan)
        self._awake.update(self.replicas)

    def drain(self) -> None:
        """Hand over what this node leads, and lead nothing again."""
        self._draining = True
        for replica in self.replicas.values():
            replica.hand_over()
        self._awake.update(self.replicas)

    # --- turns -----------------------------------------------------------------------------------

    @property
    def next_tick(self) -> float:
        """When `begin` must be called even if nothing has come."""
        return self._tick_at

    @property
    def has_work(self) -> bool:
        """`begin` would find something to do."""
        return bool(self._ended or self._discards.has_writes) or not self._awake <= self._persisting

    def begin(self, now: float) -> Turn:
        self._now = now
        if now >= self._tick_at:
            self._awake.update(n for n, replica in self.replicas.items() if replica.is_due(now))
            self._tick_at = now + self._timing.heartbeat_s / 2
        effects = Effects()
        if self._installed:
            self._take_installed(effects)
        if self._ended:
            self._take_ended(effects)
        outboxes: Outboxes = {}
        stepped: dict[int, Ready] = {}
        persisting: dict[int, Ready] = {}
        for number in sorted(self._awake - self._persisting):
            replica = self.replicas.get(number)
            if replica is None:
                continue
            try:
                ready = replica.step(now, may_hand_over=not self._draining)
            except (InvariantViolated, StorageError, AssertionError) as error:
                self.fail(number, error)
                continue
            stepped[number] = ready
            effects.settled += ready.settled
            if ready.sealed:
                effects.sealed += ready.sealed
            if ready.at_once:
                post(outboxes, number, ready.at_once)
            if ready.write is None:
                self._take_effect(number, ready, effects, outboxes)
            else:
                persisting[number] = ready
        self._awake &= self._persisting
        self._awake.update(n for n in stepped if n not in persisting and self._wants_step(n))
        self._persisting.update(persisting)
        flush = self._flushes.begin_due(now, self._tick_at, self.replicas)
        if flush is not None:
            effects.jobs.append(flush)
        if outboxes:
            effects.frames += frames(outboxes)
        return Turn(effects, stepped, persisting, self._discards.take_writes())

    def complete(self, turns: Iterable[Turn]) -> Effects:
        """The turns are durable, and all before them."""
        effects = Effects()
        outboxes: Outboxes = {}
        for turn in turns:
            for number, ready in turn.persisting.items():
                self._persisting.discard(number)
                self._take_effect(number, ready, effects, outboxes)
                if self._wants_step(number):
                    self._awake.add(number)
            effects.jobs += [GroupJob(write.group, DiscardTable()) for write in turn.discards]
        self._take_ended(effects)
        effects.frames += frames(outboxes)
        return effects

    def _take_effect(self, number: int, ready: Ready, effects: Effects, outboxes: Outboxes) -> None:
        replica = self.replicas.get(number)
        if replica is None:
            # It failed while it was being persisted.
            return
        if ready.messages:
            post(outboxes, number, ready.messages)
        try:
            completed = replica.complete()
        except (InvariantViolated, StorageError, AssertionError, ProtocolError) as error:
            self.fail(number, error)
            return
        if completed.messages:
            post(outboxes, number, completed.messages)
        effects.settled += completed.settled
        if completed.changed:
            effects.changed += [(number, changed) for changed in completed.changed]
        if completed.moved:
            self.routes.moved(number, replica.table.holdings, completed.moved)
            effects.moved.append((number, completed.moved))
        if ready.jobs:
            effects.jobs += [GroupJob(number, job) for job in ready.jobs]
        if replica.is_removed:
            if number not in self._told_removed:
                self._told_removed.add(number)
                effects.removed.append(number)
        elif self._told_removed:
            self._told_removed.discard(number)

    def _wants_step(self, number: int) -> bool:
        return number in self.replicas and self.replicas[number].wants_step

    def fail(self, group: int, error: BaseException) -> None:
        """Stop a replica rather than the truth."""
        if group in self.failures:
            return
        replica = self.replicas.pop(group, None)
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, Corrupt):
            reason += (
                "; to have this replica rebuilt from its peers, stop the node and run `globaltable "
                f"rebuild --node {self.node} --group {group} --config` with its configuration"
            )
        self.failures[group] = reason
        self.new_failures.append(ReplicaFailure(group, reason))
        if replica is not None:
            self._ended += replica.stop()

    def holds(self, group: int) -> bool:
        """Whether this node has a replica of a group, be it out of service."""
        return group in self.replicas or group in self.failures

    def refusal(self, group: int) -> str:
        """Why this node's replica of a group serves nobody now; empty if it does."""
        if group in self.failures:
            return f"group {group} is out of service on {self.node}: {self.failures[group]}"
        if group not in self.replicas:
            return f"group {group} has no replica on {self.node}"
        replica = self.replicas[group]
        if replica.is_removed:
            return f"group {group} has removed its replica on {self.node}"
        if replica.is_joining:
            return f"group {group} is being joined by {self.node}, which {replica.rebuilding}"
        if replica.rebuilding:
            return f"group {group} is being rebuilt on {self.node}"
        return ""

    def serving(self, group: int) -> Replica:
        """The replica of a group, if it serves. Raises `NoQuorum`, which says why it does not, or
        `Elsewhere` if there is none here."""
        refusal = self.refusal(group)
        if refusal:
            raise NoQuorum(refusal) if self.holds(group) else Elsewhere(refusal)
        return self.replicas[group]

    # --- the table's worker ----------------------------------------------------------------------

    def begin_flush(self, now: float, groups: Sequence[int] | None = None) -> FlushJob | None:
        """Everything that has changed, in some groups or in all, to be flushed at once; None if
        nothing has. No other flush may be under way."""
        wanted = self.replicas if groups is None else groups
        among = [group for group in wanted if group in self.replicas]
        return self._flushes.begin(now, among, self.replicas)

    @property
    def is_flushing(self) -> bool:
        return self._flushes.is_under_way

    def flushed(self) -> None:
        """The result of `FlushJob`."""
        self._table.refresh()
        self._flushes.end(self.replicas)

    def chunk_read(
        self, group: int, job: ReadChunk, state: TableState, chunk: SnapshotChunk
    ) -> None:
        if group in self.replicas:
            self.replicas[group].chunk_read(job.peer, job.transfer, state, chunk)
            self._awake.add(group)

    def chunk_staged(self, group: int, job: StageChunk) -> None:
        if group in self.replicas:
            self.replicas[group].chunk_staged(job.sender, job.transfer, job.number)
            self._awake.add(group)

    def chunk_refused(self, group: int, job: StageChunk) -> None:
        if group in self.replicas:
            self.replicas[group].chunk_refused(job.sender, job.transfer)
            self._awake.add(group)

    def snapshot_installed(self, group: int) -> None:
        """Taken up once the replica is not being persisted: it may yet apply to the old table."""
        self._installed.append(group)
        self._awake.add(group)

    def _take_installed(self, effects: Effects) -> None:
        jumped = [group for group in self._installed if group not in self._persisting]
        if not jumped:
            return
        self._installed = [group for group in self._installed if group in self._persisting]
        self._table.refresh()
        for group in jumped:
            if group in self.replicas:
                try:
                    effects.settled += self.replicas[group].snapshot_installed()
                    self.routes.learn(group, self.replicas[group].table.holdings)
                except (InvariantViolated, StorageError, AssertionError) as error:
                    self.fail(group, error)
        effects.jumped += jumped

    def _take_ended(self, effects: Effects) -> None:
        """What waited for replicas that have failed."""
        effects.settled += self._ended
        self._ended = []

    def stop(self) -> list[Settled]:
        """No turn will follow: end everything that waits. Called again, what has come since."""
        ended, self._ended = self._ended, []
        return ended + [s for replica in self.replicas.values() for s in replica.stop()]
