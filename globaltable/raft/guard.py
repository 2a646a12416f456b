"""The message boundary of one replica: between it and its peers, and around the library.

Every message a replica receives passes `receive` before the library sees it, and every message the
library sends passes `_on_library_message` before it leaves. What the library would do wrong is put
right there, by whom it concerns: `elections`, `follower`, `replication`, `snapshots`; `recovery`
says what a replica that is being rebuilt hears at all.

The caller's contract, as in `group`: after `tick`, make `take_write()` durable; only then send
`take_outbox()` but for a leader's appends, tell `persisted`, and apply what `tick` returned.
*Nothing leaves a node that a crash could take back.*

Who leads or campaigns is heeded by its term, be it a member here or not (Raft thesis §4.2): the
configuration that names it may not have come yet. What others say counts only from members.

Invariants: the members in force are those of the latest configuration in the log; a follower is
handed only what the leader of the present term says, and a leader only what is said to it as such;
messages and jobs leave in the order in which they were asked for. The invariants of Raft stand with
the parts that keep them.
"""

import random
from typing import Final

from globaltable.members import Members
from globaltable.raft.adaptor import REGULAR, Adaptor, Role, Timing
from globaltable.raft.dialect import Said
from globaltable.raft.elections import Elections
from globaltable.raft.follower import Follower
from globaltable.raft.journal import InvariantViolated, Journal, members_command
from globaltable.raft.membership import Membership
from globaltable.raft.messages import (
    Ack,
    Append,
    Ask,
    Examine,
    Heartbeat,
    Held,
    JoinerAck,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    Recover,
    RecoverReply,
    Removed,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
    Whole,
)
from globaltable.raft.progress import size_bytes
from globaltable.raft.recovery import Phase, Recovery
from globaltable.raft.replication import Replication
from globaltable.raft.snapshots import SnapshotReceiver, SnapshotSender
from globaltable.raft.transfer import Job
from globaltable.store.log import Entry, LogWrite
from globaltable.store.table import SnapshotChunk
from globaltable.table_state import TableState

UNCOMMITTED_ENTRIES_MAX: Final = 4_096
UNCOMMITTED_BYTES_MAX: Final = 33_554_432


class Guard:
    """Stepped, without clock, sockets or disk of its own."""

    def __init__(
        self,
        *,
        node: str,
        journal: Journal,
        timing: Timing,
        rng: random.Random,
        now: float,
        campaign_soon: bool = False,
    ) -> None:
        """The members are those in the journal."""
        self._node = node
        self.journal = journal
        membership = self._membership = Membership(node, journal.members)
        self._leaving: list[str] = []
        """As a leader: whom the latest configuration has removed, to be told once it is
        committed."""
        self._removed_as_of = -1
        """As of this index, it is told, a committed configuration does not name this replica."""
        self._examined: dict[str, int] = {}
        """As a leader: the question that each learner was asked."""
        self._examine_again_at: dict[str, float] = {}
        self._heartbeat_s = timing.heartbeat_s
        self._election_max_s = timing.election_max_s
        self._whole: set[str] = set()
        """As a leader: learners that have answered it."""
        self._outbox: list[tuple[str, Message]] = []
        self._jobs: list[Job] = []
        adaptor = self._adaptor = Adaptor(
            node=node,
            members=journal.members,
            journal=journal,
            applied=journal.commit_index,
            timing=timing,
            rng=rng,
            now=now,
            send=self._on_library_message,
        )
        self.recovery = Recovery(
            membership=membership,
            adaptor=adaptor,
            journal=journal,
            timing=timing,
            nonces=rng,
            send=self._send,
        )
        self._elections = Elections(
            membership=membership,
            adaptor=adaptor,
            journal=journal,
            timing=timing,
            send=self._send,
        )
        self._snapshot_receiver = SnapshotReceiver(
            adaptor=adaptor, journal=journal, send=self._send, ask=self._ask
        )
        self._follower = Follower(
            membership=membership,
            adaptor=adaptor,
            journal=journal,
            snapshots=self._snapshot_receiver,
            recovery=self.recovery,
            send=self._send,
        )
        self._snapshot_sender = SnapshotSender(
            membership=membership,
            adaptor=adaptor,
            journal=journal,
            timing=timing,
            rng=rng,
            send=self._send,
            ask=self._ask,
        )
        self._replication = Replication(
            membership=membership,
            adaptor=adaptor,
            journal=journal,
            snapshots=self._snapshot_sender,
            send=self._send,
        )
        self._rng = rng
        if campaign_soon:
            self._elections.campaign_soon(rng)

    # --- state -----------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        return self._adaptor.role

    @property
    def term(self) -> int:
        return self._adaptor.term

    @property
    def leader(self) -> str | None:
        return self._adaptor.leader

    @property
    def commit_index(self) -> int:
        return self._adaptor.commit_index

    @property
    def has_live_leader(self) -> bool:
        """It leads, or has heard from who does. `leader` is remembered while a pre-vote fails, as
        it does for ever in a minority; this is not."""
        if self.role is Role.LEADER:
            return True
        silent_s = self._adaptor.now - self._elections.heard_leader_at
        return self.leader is not None and silent_s < self._election_max_s

    @property
    def entries_behind(self) -> int:
        """Entries that the leader has told to be committed, and that this replica lacks: what a
        follower has to catch up. It knows of none while it is told nothing."""
        return max(0, self._follower.told_committed - self.commit_index)

    @property
    def adaptor(self) -> Adaptor:
        """For the tests that check the seams and the invariants."""
        return self._adaptor

    @property
    def members(self) -> Members | None:
        """In force; None while none are known."""
        return self._membership.members

    @property
    def members_committed(self) -> bool:
        """Whether the configuration in force is."""
        return self.journal.members_index <= self.commit_index

    @property
    def is_removed(self) -> bool:
        """A committed configuration does not name this replica, and it knows of no later one that
        does: whatever it has promised, nobody counts on it any more. One that is not whole does not
        know, for it may be going through what was long ago."""
        membership = self._membership
        if membership.members is None or not self.recovery.is_whole:
            return False
        if membership.is_member:
            return self._removed_as_of >= self.journal.members_index
        return self.members_committed

    @property
    def fellows(self) -> list[str]:
        """The other voters."""
        return self._membership.fellows

    @property
    def may_change_members(self) -> bool:
        """As a leader: one change at a time, so the last one must be committed, for two that are
        not may differ by two voters (thesis §4.1). And an entry of its own term must be: until then
        it does not know whether the last configuration in its log is, and another leader's, which
        it does not hold, may yet be committed (Ongaro 2015, "bug in single-server membership
        changes")."""
        return self.members_committed and self.journal.term_at(self.commit_index) == self.term

    @property
    def installing(self) -> bool:
        return self._snapshot_receiver.installing

    @property
    def has_room(self) -> bool:
        """Whether entries are taken, of the leader or as one. Whoever applies them says so."""
        return self._follower.has_room

    @has_room.setter
    def has_room(self, room: bool) -> None:
        self._follower.has_room = room

    def match_index(self, peer: str) -> int:
        return self._adaptor.match_index(peer)

    def is_connected(self, peer: str) -> bool:
        return self._adaptor.is_connected(peer)

    @property
    def oldest_transfer(self) -> int | None:
        """The log must be kept from here on, for a follower that is being sent a snapshot."""
        return self._snapshot_sender.oldest

    @property
    def can_append(self) -> bool:
        """As a leader: whether another entry stays within the bound on what is uncommitted."""
        uncommitted = self.journal.last_index - self.commit_index
        return uncommitted < UNCOMMITTED_ENTRIES_MAX and (
            self.journal.size_bytes < UNCOMMITTED_BYTES_MAX
            or size_bytes(self.journal.slice(self.commit_index + 1, self.journal.last_index))
            < UNCOMMITTED_BYTES_MAX
        )

    # --- inputs ----------------------------------------------------------------------------------

    def set_now(self, now: float) -> None:
        self._adaptor.set_now(now)

    def set_connected(self, peer: str, up: bool) -> None:
        """A link came up or went down. What was in flight on it may be lost."""
        self._replication.set_connected(peer, up)
        self._follower.forget_told(peer)

    def append(self, batch: bytes) -> None:
        """As a leader: append a batch to the log. It is sent at the next `tick`."""
        self._adaptor.append(REGULAR + batch)
        self._replication.wants_send = True

    def change_members(self, members: Members) -> None:
        """As a leader: append a configuration to the log, which is in force at once."""
        present = self._membership.members
        assert present is not None and self.role is Role.LEADER
        if not self.may_change_members:
            raise InvariantViolated(f"{members} before {present} is known to be committed")
        why_not = present.why_not(members)
        if why_not or self._node not in members.voters:
            raise InvariantViolated(f"{members} after {present}: {why_not or 'the leader goes'}")
        self._adaptor.append(members_command(members))
        self._replication.wants_send = True
        self._members_may_have_changed()

    def _members_may_have_changed(self) -> None:
        """The log was appended to, truncated, or replaced."""
        members, before = self.journal.members, self._membership.members
        if members is before:
            return
        self._membership.change(members)
        self._adaptor.set_members(members)
        self._replication.members_changed()
        self._leaving = []
        if self.role is Role.LEADER and before is not None and members is not None:
            self._leaving = [name for name in before.names if name not in members]
        for name in self._examined.keys() - set(self._membership.peers):
            # Should it come again, it does so without its log.
            del self._examined[name]
            self._whole.discard(name)

    def is_examined(self, learner: str) -> bool:
        """As a leader: whether a learner has said in this term that it would make use of a vote. It
        is asked until it does, once a heartbeat."""
        if learner in self._whole:
            return True
        now = self._adaptor.now
        if learner not in self._examined:
            self._examined[learner] = self._rng.getrandbits(62)
        elif now < self._examine_again_at[learner]:
            return False
        self._examine_again_at[learner] = now + self._heartbeat_s
        self._send(learner, Examine(self.term, self._examined[learner]))
        return False

    def forget_examined(self) -> None:
        self._examined.clear()
        self._whole.clear()

    def hand_over(self, target: str) -> bool:
        """As a leader: ask a peer that holds everything to take over. False if it does not."""
        return self._elections.hand_over(target)

    def chunk_read(self, peer: str, transfer: int, state: TableState, chunk: SnapshotChunk) -> None:
        """The result of `ReadChunk`."""
        self._snapshot_sender.chunk_read(peer, transfer, state, chunk)

    def chunk_staged(self, sender: str, transfer: int, number: int) -> None:
        """The result of `StageChunk`."""
        self._snapshot_receiver.chunk_staged(sender, transfer, number)

    def chunk_refused(self, sender: str, transfer: int) -> None:
        """The result of `StageChunk` if the chunk was malformed."""
        self._snapshot_receiver.chunk_refused(sender, transfer)

    def snapshot_installed(self) -> None:
        """The result of `InstallSnapshot`."""
        self._snapshot_receiver.installed()
        self._members_may_have_changed()

    def receive(self, sender: str, message: Message) -> bool:
        """One message of a peer; whether it makes a step due that does not wait for the clock.

        Dropped is what a replica that is rebuilt must not heed, and answers to what this one does
        not ask.
        """
        if not self.recovery.hears(message):
            return False
        match message:
            case Append(term):
                if self._elections.heed_leader(sender, term):
                    self._follower.on_append(sender, message)
                    self._members_may_have_changed()
            case Ack(term):
                if not self._replication.knows(sender):
                    return False
                if self._elections.heed_follower(term):
                    self._replication.on_ack(sender, message)
                    return self.wants_tick
            case JoinerAck(term, attempt, next_index):
                if not self._replication.knows(sender) or not self._elections.heed_follower(term):
                    return False
                if sender in self._membership.fellows:
                    self._send(sender, Ask(term))
                else:
                    self._replication.on_ack(sender, Ack(term, attempt, next_index, True, False))
                    return self.wants_tick
            case Ask(term):
                if self._elections.heed_leader(sender, term):
                    self.recovery.told_to_ask()
            case Heartbeat(term):
                if self._elections.heed_leader(sender, term):
                    self._follower.on_heartbeat(sender, term)
            case Held(term):
                if not self._elections.heed_leader(sender, term):
                    return True
                committed = self.commit_index
                self._follower.on_held(sender, message)
                return self.commit_index > committed
            case Matched(term):
                before = (self.term, self.commit_index)
                if self._elections.heed_fellow(term):
                    self._follower.on_matched(sender, message)
                return (self.term, self.commit_index) != before
            case PreVote():
                self._elections.on_pre_vote(sender, message)
                self._tell_if_removed(sender)
            case PreVoteReply():
                self._elections.on_pre_vote_reply(sender, message)
            case RequestVote():
                self._elections.on_request_vote(sender, message)
            case Vote():
                self._elections.on_vote(sender, message)
            case TimeoutNow():
                self._elections.on_timeout_now(sender, message)
            case SnapshotPart(term):
                if self._elections.heed_leader(sender, term):
                    self._follower.on_heartbeat(sender, term)
                    self._snapshot_receiver.on_part(sender, message)
            case SnapshotAck(term):
                if self._replication.knows(sender) and self._elections.heed_follower(term):
                    self._replication.on_snapshot_ack(sender, message)
            case Recover():
                self._replication.on_recover(sender)
                self._follower.on_recover(sender)
                self.recovery.on_recover(sender, message)
            case RecoverReply():
                self.recovery.on_reply(sender, message)
            case Examine(term, nonce):
                if self._elections.heed_leader(sender, term):
                    self._send(sender, Whole(term, nonce))
            case Whole(term, nonce):
                if self._elections.heed_follower(term) and self._examined.get(sender) == nonce:
                    self._whole.add(sender)
            case Removed():
                self._removed_as_of = max(self._removed_as_of, message.index)
            case Propose():
                raise AssertionError("proposals are the group's")
        return True

    def _tell_if_removed(self, sender: str) -> None:
        """It asks for votes, and may not know that it is none of the group's any more."""
        committed = self.commit_index
        since = self.journal.members_since(committed)
        if since and not any(sender in members for members in since):
            self._send(sender, Removed(self.term, committed))

    # --- the step --------------------------------------------------------------------------------

    def tick(self) -> list[Entry]:
        """Let time pass: elections, commit, sending. Returns the entries to apply, in order."""
        self.journal.require_persisted()
        self.recovery.ask(self._elections.heard_leader_at)
        well = self.recovery.is_whole and not self.installing and not self.is_removed
        joins = self.recovery.phase is Phase.JOINING
        self._elections.hold_for_pre_vote(
            may_campaign=well and self._membership.is_voter, may_ask=well or joins
        )
        self._replication.before_tick()
        term = self.term
        applicable = self._adaptor.tick()
        if self.term != term:
            # The library has begun the election that the pre-vote was for.
            self._elections.end_campaign()
        assert self._adaptor.role is not Role.LEADER or self._membership.is_voter, self.members
        self._replication.after_tick()
        if self._leaving and self.members_committed:
            self._tell_who_left()
        self._follower.tell_matched()
        return applicable

    def _tell_who_left(self) -> None:
        """Nothing is sent to them any more, so they would not learn it. If this is lost they ask
        (`elections`)."""
        for peer in self._leaving:
            self._send(peer, Removed(self.term, self.commit_index))
        self._leaving = []

    @property
    def wants_tick(self) -> bool:
        """Something is to be sent, or may be committed, without waiting for the clock."""
        return self._replication.wants_send or self._replication.may_commit

    @property
    def due_at(self) -> float:
        """When a `tick` has something to do even if nothing comes. As a leader, that is also to see
        whether a majority still answers; its heartbeats are frequent enough for that."""
        if self.installing or not self.recovery.is_whole:
            return float("-inf")
        if self.role is Role.LEADER:
            return self._adaptor.heartbeat_at
        return self._adaptor.election_deadline

    def persisted(self) -> list[tuple[str, Message]]:
        """The write that was taken last is durable. What may be sent because of it, at once."""
        self.journal.persisted()
        return self._replication.persisted()

    def take_write(self) -> LogWrite | None:
        return self.journal.take_write()

    def take_outbox(self) -> list[tuple[str, Message]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def take_jobs(self) -> list[Job]:
        jobs, self._jobs = self._jobs, []
        return jobs

    # --- outputs ---------------------------------------------------------------------------------

    def _on_library_message(self, peer: str, message: Said) -> None:
        match message:
            case Append():
                self._replication.on_library_append(peer, message)
            case Heartbeat():
                self._replication.on_library_heartbeat(peer, message)
            case RequestVote():
                self._elections.on_library_request(peer, message)
            case Vote() | TimeoutNow():
                self._send(peer, message)

    def _send(self, peer: str, message: Message) -> None:
        self._outbox.append((peer, message))

    def _ask(self, job: Job) -> None:
        self._jobs.append(job)
