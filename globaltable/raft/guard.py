"""The message boundary of one replica: between it and its peers, and around the library.

Every message a replica receives passes `receive` before the library sees it, and every message the
library sends passes `_on_library_message` before it leaves. What the library would do wrong is put
right there, by whom it concerns: `elections`, `follower`, `replication`, `snapshots`; `recovery`
says what a replica that is being rebuilt hears at all.

The caller's contract, as in `group`: after `tick`, make `take_write()` durable; only then send
`take_outbox()` but for a leader's appends, tell `persisted`, and apply what `tick` returned.
*Nothing leaves a node that a crash could take back.*

Invariants: nobody here hears of who is no voter; a follower is handed only what the leader of the
present term says, and a leader only what is said to it as such; messages and jobs leave in the
order in which they were asked for. The invariants of Raft stand with the parts that keep them.
"""

import random
from collections.abc import Sequence
from typing import Final

from globaltable.raft.adaptor import Adaptor, Role, Timing
from globaltable.raft.dialect import Said
from globaltable.raft.elections import Elections
from globaltable.raft.follower import Follower
from globaltable.raft.journal import Journal
from globaltable.raft.messages import (
    Ack,
    Append,
    Heartbeat,
    Held,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    Recover,
    RecoverReply,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
)
from globaltable.raft.progress import size_bytes
from globaltable.raft.recovery import Recovery
from globaltable.raft.replication import Replication
from globaltable.raft.snapshots import SnapshotReceiver, SnapshotSender
from globaltable.raft.transfer import Job
from globaltable.store.log import Entry, LogWrite
from globaltable.store.table import SnapshotChunk
from globaltable.table import TableState

UNCOMMITTED_ENTRIES_MAX: Final = 4_096
UNCOMMITTED_BYTES_MAX: Final = 33_554_432


class Guard:
    """Stepped, without clock, sockets or disk of its own."""

    def __init__(
        self,
        *,
        node: str,
        voters: Sequence[str],
        journal: Journal,
        timing: Timing,
        rng: random.Random,
        now: float,
        campaign_soon: bool = False,
    ) -> None:
        assert node in voters and len(set(voters)) == len(voters)
        self._peers = [name for name in voters if name != node]
        self.journal = journal
        self._outbox: list[tuple[str, Message]] = []
        self._jobs: list[Job] = []
        adaptor = self._adaptor = Adaptor(
            node=node,
            voters=voters,
            journal=journal,
            applied=journal.commit_index,
            timing=timing,
            rng=rng,
            now=now,
            send=self._on_library_message,
        )
        self.recovery = Recovery(
            peers=self._peers,
            adaptor=adaptor,
            journal=journal,
            timing=timing,
            nonces=rng,
            send=self._send,
        )
        self._elections = Elections(
            node=node,
            peers=self._peers,
            adaptor=adaptor,
            journal=journal,
            timing=timing,
            send=self._send,
        )
        self._snapshot_receiver = SnapshotReceiver(
            adaptor=adaptor, journal=journal, send=self._send, ask=self._ask
        )
        self._follower = Follower(
            peers=self._peers,
            adaptor=adaptor,
            journal=journal,
            snapshots=self._snapshot_receiver,
            send=self._send,
        )
        self._snapshot_sender = SnapshotSender(
            peers=self._peers,
            adaptor=adaptor,
            journal=journal,
            timing=timing,
            rng=rng,
            send=self._send,
            ask=self._ask,
        )
        self._replication = Replication(
            peers=self._peers,
            adaptor=adaptor,
            journal=journal,
            snapshots=self._snapshot_sender,
            send=self._send,
        )
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
    def adaptor(self) -> Adaptor:
        """For the tests that check the seams and the invariants."""
        return self._adaptor

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

    def append(self, command: bytes) -> None:
        """As a leader: append a batch to the log. It is sent at the next `tick`."""
        self._adaptor.append(command)
        self._replication.wants_send = True

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

    def receive(self, sender: str, message: Message) -> bool:
        """One message of a peer; whether it makes a step due that does not wait for the clock.

        Messages of who is no voter are dropped, and what a replica that is rebuilt must not heed.
        """
        if sender not in self._peers or not self.recovery.hears(message):
            return False
        match message:
            case Append(term):
                if self._elections.heed_leader(sender, term):
                    self._follower.on_append(sender, message)
            case Ack(term):
                if self._elections.heed_follower(term):
                    self._replication.on_ack(sender, message)
                    return self.wants_tick
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
                if self._elections.heed_follower(term):
                    self._replication.on_snapshot_ack(sender, message)
            case Recover():
                self._replication.on_recover(sender)
                self._follower.on_recover(sender)
                self.recovery.on_recover(sender, message)
            case RecoverReply():
                self.recovery.on_reply(sender, message)
            case Propose():
                raise AssertionError("proposals are the group's")
        return True

    # --- the step --------------------------------------------------------------------------------

    def tick(self) -> list[Entry]:
        """Let time pass: elections, commit, sending. Returns the entries to apply, in order."""
        self.journal.require_persisted()
        self.recovery.ask()
        may_campaign = self.recovery.is_whole and not self.installing
        self._elections.hold_for_pre_vote(may_campaign=may_campaign)
        self._replication.before_tick()
        term = self.term
        applicable = self._adaptor.tick()
        if self.term != term:
            # The library has begun the election that the pre-vote was for.
            self._elections.end_campaign()
        self._replication.after_tick()
        self._follower.tell_matched()
        return applicable

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
