"""One replica of one group: propose, read, watch. State machine, log and consensus, without I/O.

Whoever drives a replica (the node's loop, or the simulator) does, in this order, at every turn:

1. hands in what came: `receive`, `submit`, `set_connected`, results of jobs;
2. calls `step(now)`, which returns a `Ready`, and may **send** `Ready.at_once` and tell
   `Ready.settled` at once: they promise nothing that a crash could take back;
3. **persists** `Ready.write`; a turn's writes of all groups go into one transaction;
4. only then **sends** `Ready.messages`, and calls `complete`, which **applies** `Ready.committed`
   to the table and returns what may now be told: messages, outcomes and changes;
5. carries out `Ready.jobs` at its leisure, and hands their results in at a later turn.

Where `Ready.write` is None nothing is to be persisted, and 4 follows at once.
*Nothing leaves a node that a crash could take back.*

An outcome belongs to the *batch id* found in the applied entry, never to a remembered log position
(positions are reused by other batches after a change of leader). A batch whose fate is not known
is proposed again, under the same id and with the same ops; the table applies each op once.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from globaltable.convergence import Convergence
from globaltable.deal import EVERYTHING, Deal
from globaltable.errors import Corrupt
from globaltable.freezing import Freezing
from globaltable.leadership import Leadership
from globaltable.members import Members
from globaltable.model import Batch, Binding, Op
from globaltable.own_barrier import OwnBarrier
from globaltable.proposals import Proposal, Proposals, Settled
from globaltable.raft.adaptor import Role, Timing
from globaltable.raft.guard import Guard
from globaltable.raft.journal import Journal, founders_in, is_members, is_no_op, members_in
from globaltable.raft.messages import Append, Message, Propose
from globaltable.raft.recovery import Phase
from globaltable.raft.transfer import Job
from globaltable.replica_limits import LogBounds, ReplicaLimits
from globaltable.slot_steps import Step
from globaltable.store.log import Entry, LogImage, LogWrite
from globaltable.store.table import JOINING_STATE, ROOT_STATE, SnapshotChunk, TableStore
from globaltable.table import Table
from globaltable.table_state import Flush, Frozen, TableState
from globaltable.topology import Group
from globaltable.under_way import BatchesUnderWay
from globaltable.wire.batches import decode_batch
from globaltable.wire.rows import HistoryRow


class Changed(NamedTuple):
    """A batch was applied: one row for each of its ops."""

    revision: int
    rows: Sequence[HistoryRow]


class Ready(NamedTuple):
    """What a step asks of the driver, in the order of the module's contract."""

    at_once: Sequence[tuple[str, Message]]
    """Proposals for leaders elsewhere, which say nothing of this replica's term, vote or log; and a
    leader's appends that say no more of what it holds than is durable (`raft.replication`). Its
    term has been durable since it asked for votes."""
    write: LogWrite | None
    messages: Sequence[tuple[str, Message]]
    committed: Sequence[Entry]
    jobs: Sequence[Job]
    settled: Sequence[Settled]
    """Ended without the log: expired. They may be told at once."""
    sealed: Sequence[Proposal]
    """Proposed for the first time in this step: for who measures how long their ops waited."""


class Completed(NamedTuple):
    messages: Sequence[tuple[str, Message]]
    settled: Sequence[Settled]
    changed: Sequence[Changed]
    moved: Sequence[int] = ()
    """Slots of which this group came to hold more or less."""


class Replica:
    """See the module's head for the contract."""

    def __init__(
        self,
        *,
        group: Group,
        members: Members | None,
        node: str,
        slots: int,
        image: LogImage,
        store: TableStore,
        timing: Timing,
        limits: ReplicaLimits,
        rng: random.Random,
        now: float,
        deal: Deal = EVERYTHING,
    ) -> None:
        """`members` are those that founded the group, whoever they are by now; None for a replica
        that joins a group which others have founded. Where the disk knows better it counts. `deal`
        is what the group held before any slot was moved."""
        self.group = group
        self._node = node
        self._slots = slots
        self._deal = deal
        self._store = store
        self._timing = timing
        self._now = now
        self._proposals = Proposals(limits.pending_ops, rng, now)
        mark = image.hard_state
        # Who has lost its log cannot tell whether it still begins where the group was founded.
        self._founders = founders_in(image) or (None if mark.marked else members)
        self._joins = mark.joining or not (members or mark.rebuilding or image.entries)
        self.table = self._load_table(image)
        journal = Journal(
            group.number,
            image,
            self.table.applied,
            self.table.applied_term,
            self.table.members,
            joins=self._joins,
        )
        preferred = group.replicas[0] if group.replicas else None
        self._guard = Guard(
            node=node,
            journal=journal,
            timing=timing,
            rng=rng,
            now=now,
            campaign_soon=preferred == node,
        )
        self._bounds = LogBounds(limits, journal)
        self._convergence = Convergence(self._guard, node, timing)
        self._leadership = Leadership(self._guard, self._convergence, node, preferred, timing)
        self._committed: Sequence[Entry] = ()
        self._under_way = BatchesUnderWay()
        self._own_barrier = OwnBarrier(self._guard.recovery, self._proposals)
        self._freezing = Freezing()
        self._ended: list[Settled] = []
        """To be told of in this turn, or by `stop` if the replica fails amid it."""
        self._newly_sealed: list[Proposal] = []

    def _load_table(self, log: LogImage | None = None) -> Table:
        """`log`: as it is found at start."""
        number = self.group.number
        image = self._store.image(number)
        state = image.state
        if log is not None and self._is_empty(log):
            if state == ROOT_STATE:
                state = JOINING_STATE
        elif state.members is None:
            # As of a time before the first change: nothing had to be written.
            state = state._replace(members=self._founders)
            if self._founders is None:
                raise Corrupt(
                    f"group {number}: nothing stored says who its members are, and this replica is "
                    "none of its founders"
                )
        return Table(self._slots, self._store.rows(number), state, image.history, self._deal)

    def _is_empty(self, log: LogImage) -> bool:
        """It has been sent nothing yet, since it came or was discarded."""
        marked = self._joins or log.hard_state.rebuilding
        return marked and not any(entry.index for entry in log.entries)

    # --- state -----------------------------------------------------------------------------------

    @property
    def guard(self) -> Guard:
        """For status, and for the tests that check the invariants."""
        return self._guard

    @property
    def rebuilding(self) -> str:
        """What a replica that is being rebuilt waits for; until then it serves nobody. Empty for
        one that is whole."""
        return self._guard.recovery.waits_for

    @property
    def members(self) -> Members | None:
        """In force here: the latest configuration in the log. None: joining, and none is known."""
        return self._guard.members

    @property
    def members_committed(self) -> bool:
        """Whether the configuration in force is; if not, it may yet give way to another."""
        return self._guard.members_committed

    @property
    def is_removed(self) -> bool:
        """The group goes on without this replica, for good or until it is added again: it may be
        discarded, and serves nobody."""
        return self._guard.is_removed

    @property
    def is_joining(self) -> bool:
        """It has no vote, nor may it have been counted: it may be discarded at any time."""
        return self._guard.recovery.phase is Phase.JOINING

    @property
    def wanted(self) -> Members | None:
        """What the leader brings the members to, wherever it is; None: to nothing else."""
        return self._convergence.wanted

    @wanted.setter
    def wanted(self, members: Members | None) -> None:
        self._convergence.wanted = members

    @property
    def is_as_wanted(self) -> bool:
        """The members are those wanted, and that is committed, as far as this replica knows."""
        return self._convergence.is_done

    @property
    def preferred(self) -> str | None:
        """Who should lead, if it has a vote."""
        return self._leadership.preferred

    @preferred.setter
    def preferred(self, node: str | None) -> None:
        self._leadership.preferred = node

    @property
    def is_leader(self) -> bool:
        return self._guard.role is Role.LEADER

    @property
    def pending_ops(self) -> int:
        """Ops that have been submitted and not been settled; a reader counts as one."""
        return self._proposals.ops

    @property
    def wants_step(self) -> bool:
        """There is something to do that does not wait for the clock."""
        if self._guard.wants_tick:
            return True
        return self._proposals.may_seal and self._proposes_to is not None

    def is_due(self, now: float) -> bool:
        """Whether a step is due because time has passed: looked at every half heartbeat."""
        return now >= self._guard.due_at or self._proposals.ops > 0

    # --- inputs ----------------------------------------------------------------------------------

    def submit(self, ops: Sequence[Op], ticket: Any, deadline: float) -> bool:
        """Queue ops, to be settled together under `ticket`; False, and nothing queued, if full,
        or if this replica is being rebuilt.

        Without ops it is a read barrier: once settled with no outcome, this replica's table holds
        everything that was acknowledged anywhere before the call; with one, it may not.
        """
        if not self._guard.recovery.is_whole:
            return False
        return self._proposals.submit(ops, ticket, deadline)

    def submit_step(self, step: Step, ticket: Any, deadline: float) -> bool:
        """Queue a step of a slot's move; False, and nothing queued, as in `submit`. It is settled
        with one outcome: APPLIED, also if it had been taken before; INVALID_ARGUMENT, with the
        reason, if it is out of order; or that of an op that did not happen, or may have."""
        if not self._guard.recovery.is_whole:
            return False
        return self._proposals.submit_step(step, ticket, deadline)

    def receive(self, sender: str, message: Message) -> bool:
        """One message of a peer; whether it makes a step due that does not wait for the clock."""
        if isinstance(message, Propose):
            self._on_propose(message.payload)
            return True
        return self._guard.receive(sender, message) or self._leadership.is_ending

    def _on_propose(self, payload: bytes) -> None:
        # What enters the log is applied by every replica, so it is checked before it does. If it
        # cannot be appended now it is dropped: who proposed it will propose it again.
        batch = decode_batch(payload)
        if self._may_append:
            self._append(payload, batch)

    @property
    def _may_append(self) -> bool:
        """As a leader: whether a batch may enter the log now."""
        return (
            self.is_leader
            and not self._leadership.is_ending
            and self._guard.can_append
            and self._guard.has_room
        )

    def _append(self, payload: bytes, batch: Batch) -> None:
        """As a leader."""
        if self._under_way.is_new(batch, self._guard.term):
            self._under_way.keep(payload, batch)
            self._guard.append(payload)

    def set_connected(self, peer: str, up: bool, *, same_plan: bool = True) -> None:
        """A peer came or went; one that plans otherwise is not handed leadership by preference."""
        self._leadership.note_plan(peer, same_plan)
        self._guard.set_connected(peer, up)

    def chunk_read(self, peer: str, transfer: int, state: TableState, chunk: SnapshotChunk) -> None:
        if state.members is None:
            state = state._replace(members=self._founders)
        self._guard.chunk_read(peer, transfer, state, chunk)

    def chunk_staged(self, sender: str, transfer: int, number: int) -> None:
        self._guard.chunk_staged(sender, transfer, number)

    def chunk_refused(self, sender: str, transfer: int) -> None:
        self._guard.chunk_refused(sender, transfer)

    def snapshot_installed(self) -> list[Settled]:
        """The store has put a snapshot in the table's place, and has been refreshed.

        Entries this replica never saw are part of it; batches of its own may be among them.
        """
        assert not self._committed, "the table is being replaced amid a step"
        self._guard.snapshot_installed()
        self.table = self._load_table()
        self._freezing.passed_over(self.table.applied)
        return self._proposals.settle_by_history(self.table.history)

    def hand_over(self, target: str | None = None) -> None:
        """As a leader: give up leadership to `target`, or to whoever holds most of the log."""
        self._leadership.hand_over(self._now, target)

    # --- the step --------------------------------------------------------------------------------

    def step(self, now: float, *, may_hand_over: bool = True) -> Ready:
        """Let time pass and act on what came. `complete` must follow before the next step."""
        assert not self._committed, "complete() the previous step first"
        self._now = max(self._now, now)
        self._guard.set_now(self._now)
        self._ended += self._proposals.expire(self._now)
        at_once: list[tuple[str, Message]] = []
        self._own_barrier.submit_if_wanted()
        self._seal(at_once)
        self._propose_again(at_once)
        self._leadership.step(self._now, by_preference=may_hand_over)
        self._committed = self._guard.tick()
        table = self.table
        if self._bounds.is_full:
            self._bounds.compact(table.flushed, self._guard.oldest_transfer)
        self._guard.has_room = not self._bounds.is_far_ahead_of_its_disk(
            table.unflushed_rows, table.applied, table.flushed
        )
        messages: list[tuple[str, Message]] = []
        durable = self._guard.journal.durable_index
        for peer, message in self._guard.take_outbox():
            early = isinstance(message, Append) and message.held <= durable
            (at_once if early else messages).append((peer, message))
        write, jobs = self._guard.take_write(), self._guard.take_jobs()
        sealed, self._newly_sealed = self._newly_sealed, []
        return Ready(at_once, write, messages, self._committed, jobs, self._take_ended(), sealed)

    def complete(self) -> Completed:
        """The turn is durable: apply what it committed."""
        messages = self._guard.persisted()
        changed: list[Changed] = []
        moved: list[int] = []
        for command, index, term in self._committed:
            if is_no_op(command):
                self.table.advance(index, term)
                self._freezing.reached(self.table)
                continue
            if is_members(command):
                self.table.change_members(index, term, members_in(command))
                self._freezing.reached(self.table)
                continue
            batch = self._under_way.take(command[1:])
            applied = self.table.apply(index, term, batch)
            self._freezing.reached(self.table)
            changed.append(Changed(index, applied.rows))
            if batch.step is not None:
                moved.append(batch.step.slot)
            if not self._proposals.awaits(batch.batch_id):
                continue
            for one in self._proposals.settle(batch.batch_id, applied.outcomes):
                if OwnBarrier.is_one(one):
                    self._own_barrier.applied(one, self.table.members)
                else:
                    self._ended.append(one)
        self._committed = ()
        return Completed(messages, self._take_ended(), changed, moved)

    def _take_ended(self) -> list[Settled]:
        ended, self._ended = self._ended, []
        return ended

    # --- proposing -------------------------------------------------------------------------------

    @property
    def _proposes_to(self) -> str | None:
        """Where a batch can go now: this node if it leads, or a leader that is connected."""
        leader = self._guard.leader
        if leader == self._node:
            return leader if self._may_append else None
        return leader if leader is not None and self._guard.is_connected(leader) else None

    def _seal(self, messages: list[tuple[str, Message]]) -> None:
        """Close what is open into batches, and propose them."""
        while self._proposals.may_seal and (target := self._proposes_to) is not None:
            proposal = self._proposals.seal(self.table.applied)
            self._under_way.keep(proposal.payload, proposal.batch)
            self._newly_sealed.append(proposal)
            self._propose(proposal, target, messages)

    def _propose(
        self, proposal: Proposal, target: str, messages: list[tuple[str, Message]]
    ) -> None:
        proposal.proposed_at = self._now
        proposal.proposed_to = (target, self._guard.term)
        if target == self._node:
            self._append(proposal.payload, proposal.batch)
        else:
            messages.append((target, Propose(proposal.payload)))

    def _propose_again(self, messages: list[tuple[str, Message]]) -> None:
        """To a new leader at once; to the same one after a while, for messages get lost."""
        leader = self._guard.leader
        if leader is None:
            return
        present = (leader, self._guard.term)
        lost_before = self._now - self._timing.election_max_s
        for proposal in self._proposals.sealed():
            if proposal.proposed_to != present or proposal.proposed_at < lost_before:
                if self._proposes_to is None:
                    return
                self._propose(proposal, leader, messages)

    # --- log and table ---------------------------------------------------------------------------

    @property
    def wants_flush(self) -> bool:
        """The log cannot be compacted until the table is flushed."""
        return self._bounds.wants_flush(self.table.flushed)

    def begin_flush(self) -> Flush | None:
        return None if self._guard.installing else self.table.begin_flush()

    def get(self, name: bytes) -> Binding | None:
        """From this replica, at revision `table.applied`."""
        return self.table.get(name)

    def freeze_at(self, revision: int, then: Callable[[Frozen | None], None]) -> bool:
        """Have `then` told of this table at a revision, as soon as it is there: amid the turn that
        applies it, and before anything later can be flushed. It is told of None if the revision is
        passed over by a snapshot. False, and nothing is told, if it has been passed already, or if
        somebody waits for it.

        The same revision of another replica holds the same: that is what can be compared.
        """
        return self._freezing.wait(self.table, revision, then)

    def thaw(self, revision: int) -> None:
        """Nobody waits for it any more."""
        self._freezing.forget(revision)

    def stop(self) -> list[Settled]:
        """The replica will not be stepped again: end everything that waits."""
        waiting = [one for one in self._proposals.stop() if not OwnBarrier.is_one(one)]
        return self._take_ended() + waiting
