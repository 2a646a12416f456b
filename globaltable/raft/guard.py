"""The rules of Raft that PySyncObj leaves out, at the message boundary of one replica.

Every message a replica receives passes `receive` before the library sees it, and every message the
library sends passes `_on_library_message` before it leaves. What the library would do wrong is
corrected there; what it lacks (pre-vote, conflict search, snapshots, flow control) is here and in
`reconcile`, `quorum` and `transfer`.

The caller's contract, as in `group`: after `tick`, make `take_write()` durable; only then send
`take_outbox()` and apply what `tick` returned. *Nothing leaves a node that a crash could take
back.*

Invariants, each asserted here or in `journal`: the commit index never falls and covers only what
was matched with the leader of the current term; committed entries are never deleted; at most one
vote is given, and one counted from each voter, in a term.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from globaltable.raft.adaptor import Adaptor, Role, Timing
from globaltable.raft.journal import NO_OP, InvariantViolated, Journal
from globaltable.raft.messages import (
    Ack,
    Append,
    Heartbeat,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
)
from globaltable.raft.quorum import follower_commit, majority
from globaltable.raft.reconcile import Reject, reconcile
from globaltable.raft.transfer import (
    GIVE_UP,
    EndRead,
    Incoming,
    InstallSnapshot,
    Job,
    Outgoing,
    ReadChunk,
    StageChunk,
)
from globaltable.store.log import Entry, LogWrite
from globaltable.store.table import SnapshotChunk
from globaltable.table import TableState

IN_FLIGHT_BYTES_MAX: Final = 16_777_216
UNCOMMITTED_ENTRIES_MAX: Final = 4_096
UNCOMMITTED_BYTES_MAX: Final = 33_554_432
_ENTRY_OVERHEAD_BYTES: Final = 32
_TRANSFER_PATIENCE: Final = 10
"""Election timeouts without progress after which a snapshot transfer is given up."""


@dataclass(slots=True)
class _Progress:
    """As a leader: what is under way to one follower."""

    round: int = 0
    in_flight: list[tuple[int, int]] = field(default_factory=list)
    """(last index, bytes) of each append with entries that is not acknowledged, oldest first."""
    in_flight_bytes: int = 0
    outgoing: Outgoing | None = None

    def sent(self, entries: Sequence[Entry]) -> None:
        size = _size(entries)
        self.in_flight.append((entries[-1].index, size))
        self.in_flight_bytes += size

    def acknowledged(self, index: int) -> None:
        done = 0
        for last, size in self.in_flight:
            if last > index:
                break
            self.in_flight_bytes -= size
            done += 1
        del self.in_flight[:done]

    def begin_round(self) -> None:
        self.round += 1
        self.in_flight.clear()
        self.in_flight_bytes = 0


@dataclass(slots=True)
class _Campaign:
    """A pre-vote (Raft thesis §9.6) under way, for the election of `term`."""

    term: int
    granted: set[str]


def _size(entries: Sequence[Entry]) -> int:
    return sum(len(entry.command) + _ENTRY_OVERHEAD_BYTES for entry in entries)


class Guard:
    """One replica's consensus: stepped, without clock, sockets or disk of its own."""

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
        self._node = node
        self._others = [name for name in voters if name != node]
        self._voters = len(voters)
        self._timing = timing
        self._rng = rng
        self._now = now
        self.journal = journal
        self._outbox: list[tuple[str, Message]] = []
        self._jobs: list[Job] = []
        self._progress = {name: _Progress() for name in self._others}
        self._paused: list[str] = []
        self._heard_leader_at = float("-inf")
        self._votes: tuple[int, set[str]] = (0, set())
        self._campaign: _Campaign | None = None
        self._cleared_to_campaign = False
        self._transfer_term: int | None = None
        self._incoming: Incoming | None = None
        self._send_now = False
        self._adaptor = Adaptor(
            node=node,
            voters=voters,
            journal=journal,
            applied=journal.commit_index,
            timing=timing,
            rng=rng,
            now=now,
            send=self._on_library_message,
        )
        if campaign_soon:
            # The preferred leader tries first; the pre-vote keeps it from deposing a live leader.
            self._adaptor.set_election_deadline(now + timing.heartbeat_s * (1 + rng.random()))

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
        return self._incoming is not None and self._incoming.installing

    def match_index(self, peer: str) -> int:
        return self._adaptor.match_index(peer)

    def is_connected(self, peer: str) -> bool:
        return self._adaptor.is_connected(peer)

    @property
    def oldest_transfer(self) -> int | None:
        """The log must be kept from here on, for a follower that is being sent a snapshot."""
        ends = [
            progress.outgoing.state.applied
            for progress in self._progress.values()
            if progress.outgoing is not None and progress.outgoing.state is not None
        ]
        return min(ends, default=None)

    @property
    def can_append(self) -> bool:
        """As a leader: whether another entry stays within the bound on what is uncommitted."""
        uncommitted = self.journal.last_index - self.commit_index
        return uncommitted < UNCOMMITTED_ENTRIES_MAX and (
            self.journal.size_bytes < UNCOMMITTED_BYTES_MAX
            or _size(self.journal.slice(self.commit_index + 1, self.journal.last_index))
            < UNCOMMITTED_BYTES_MAX
        )

    # --- inputs ----------------------------------------------------------------------------------

    def set_now(self, now: float) -> None:
        self._now = max(self._now, now)
        self._adaptor.set_now(self._now)

    def set_connected(self, peer: str, up: bool) -> None:
        """A link came up or went down. What was in flight on it may be lost."""
        progress = self._progress[peer]
        progress.begin_round()
        if peer in self._paused:
            self._paused.remove(peer)
        if not up:
            self._end_outgoing(peer)
        elif self.role is Role.LEADER:
            self._adaptor.rewind(peer, self._adaptor.match_index(peer) + 1)
            self._send_now = True
        self._adaptor.set_connected(peer, up)

    def append(self, command: bytes) -> None:
        """As a leader: append a batch to the log. It is sent at the next `tick`."""
        self._adaptor.append(command)
        self._send_now = True

    def receive(self, sender: str, message: Message) -> None:
        """One message of a peer. Messages of who is no voter are dropped."""
        if sender not in self._progress:
            return
        match message:
            case Append():
                self._on_append(sender, message)
            case Ack():
                self._on_ack(sender, message)
            case Heartbeat(term):
                if self._from_leader(sender, term):
                    self._deliver_heartbeat(sender, term)
            case PreVote():
                self._on_pre_vote(sender, message)
            case PreVoteReply():
                self._on_pre_vote_reply(sender, message)
            case RequestVote():
                self._on_request_vote(sender, message)
            case Vote():
                self._on_vote(sender, message)
            case TimeoutNow(term):
                self._on_timeout_now(sender, term)
            case SnapshotPart():
                self._on_snapshot_part(sender, message)
            case SnapshotAck():
                self._on_snapshot_ack(sender, message)
            case Propose():
                raise AssertionError("proposals are the group's")

    def tick(self) -> list[Entry]:
        """Let time pass: elections, commit, sending. Returns the entries to apply, in order."""
        self._hold_election_for_pre_vote()
        if self._send_now:
            self._adaptor.send_now()
            self._send_now = False
        term = self.term
        committed = self._adaptor.commit_index
        applicable = self._adaptor.tick()
        for peer in self._paused:
            self._adaptor.resume(peer)
        self._paused.clear()
        if self.term != term:
            self._campaign = None
            self._cleared_to_campaign = False
        if self.role is Role.LEADER:
            # With three voters followers commit by themselves; with more they wait to be told.
            if self._voters > 3 and self._adaptor.commit_index > committed:
                self._send_now = True
            self._continue_transfers()
        else:
            for peer, progress in self._progress.items():
                self._end_outgoing(peer)
                if progress.in_flight:
                    progress.begin_round()
        return applicable

    @property
    def wants_tick(self) -> bool:
        """Something is to be sent without waiting for the clock."""
        return self._send_now

    def take_outbox(self) -> list[tuple[str, Message]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def take_jobs(self) -> list[Job]:
        jobs, self._jobs = self._jobs, []
        return jobs

    def take_write(self) -> LogWrite | None:
        return self.journal.take_write()

    def hand_over(self, target: str) -> bool:
        """As a leader: ask a peer that holds everything to take over. False if it does not."""
        if self.role is not Role.LEADER or not self._adaptor.is_connected(target):
            return False
        if self._adaptor.match_index(target) != self.journal.last_index:
            return False
        self._adaptor.transfer_leadership(target)
        return True

    # --- elections -------------------------------------------------------------------------------

    def _leader_is_live(self) -> bool:
        """Stickiness (Raft thesis §4.2.3): a replica that hears from a leader does not help to
        depose it. A leader without a majority falls back by itself within `election_max_s`."""
        if self.role is Role.LEADER:
            return True
        recently = self._now - self._heard_leader_at < self._timing.election_min_s
        return self._adaptor.leader is not None and recently

    def _hold_election_for_pre_vote(self) -> None:
        """The library campaigns when its deadline passes; hold it until a majority would agree."""
        adaptor = self._adaptor
        if adaptor.role is Role.LEADER or adaptor.election_deadline >= self._now:
            return
        if adaptor.asked_to_campaign:
            self._transfer_term = adaptor.term + 1
            return
        if self._cleared_to_campaign:
            return
        adaptor.postpone_election()
        if not adaptor.connected_to_anyone:
            return
        self._campaign = _Campaign(adaptor.term + 1, {self._node})
        for peer in self._others:
            last_index, last_term = self.journal.last_index, self.journal.last_term
            self._send(peer, PreVote(self._campaign.term, last_index, last_term))

    def _on_pre_vote(self, sender: str, message: PreVote) -> None:
        up_to_date = (message.last_term, message.last_index) >= (
            self.journal.last_term,
            self.journal.last_index,
        )
        if message.term > self.term and up_to_date and not self._leader_is_live():
            self._send(sender, PreVoteReply(message.term, True))
        else:
            self._send(sender, PreVoteReply(self.term, False))

    def _on_pre_vote_reply(self, sender: str, message: PreVoteReply) -> None:
        if not message.granted:
            self._heed_term(message.term)
            return
        campaign = self._campaign
        if campaign is None or message.term != campaign.term or self.role is Role.LEADER:
            return
        campaign.granted.add(sender)
        if len(campaign.granted) >= majority(self._voters) and campaign.term == self.term + 1:
            self._cleared_to_campaign = True
            self._adaptor.set_election_deadline(-1.0)

    def _on_request_vote(self, sender: str, message: RequestVote) -> None:
        if not message.transfer and self._leader_is_live():
            return
        if message.term < self.term:
            self._send(sender, Vote(self.term, False))
            return
        self._adaptor.deliver(
            sender,
            {
                "type": "request_vote",
                "term": message.term,
                "last_log_index": message.last_index,
                "last_log_term": message.last_term,
            },
        )

    def _on_vote(self, sender: str, message: Vote) -> None:
        if self._heed_term(message.term) or not message.granted:
            return
        if self.role is not Role.CANDIDATE or message.term != self.term:
            return
        # The library counts votes; Raft counts voters (§5.2).
        term, voters = self._votes
        if term != self.term:
            voters = set()
            self._votes = (self.term, voters)
        if sender in voters:
            return
        voters.add(sender)
        self._adaptor.deliver(sender, {"type": "response_vote", "term": message.term})

    def _on_timeout_now(self, sender: str, term: int) -> None:
        if term == self.term and sender == self._adaptor.leader:
            self._adaptor.deliver(sender, {"type": "timeout_now", "term": term})

    def _heed_term(self, term: int) -> bool:
        """Step down before a later term (Raft §5.1), which the library overlooks in answers."""
        if term <= self.term:
            return False
        self._adaptor.step_down(term)
        return True

    # --- as a follower ---------------------------------------------------------------------------

    def _from_leader(self, sender: str, term: int) -> bool:
        """Whether a leader's message is of the present; tells a deposed one of the present term."""
        if term < self.term:
            self._send(sender, Ack(self.term, 0, 0, success=False, reset=False))
            return False
        if term == self.term and self.role is Role.LEADER:
            raise InvariantViolated(f"{sender} leads in term {term}, and so does {self._node}")
        self._heard_leader_at = self._now
        self._campaign = None
        self._cleared_to_campaign = False
        return True

    def _deliver_heartbeat(self, sender: str, term: int, round_: int = 0) -> None:
        self._note_leader(sender, term)
        self._send(sender, Ack(term, round_, 0, success=False, reset=False))

    def _note_leader(self, sender: str, term: int) -> None:
        """A sign of life that carries no entries, and no commit index: nothing was matched."""
        self._adaptor.deliver(
            sender, {"type": "append_entries", "term": term, "commit_index": 0, "serialized": None}
        )

    def _on_append(self, sender: str, message: Append) -> None:
        if not self._from_leader(sender, message.term):
            return
        if self.installing:
            self._deliver_heartbeat(sender, message.term, message.round)
            return
        plan = reconcile(self.journal, message.prev_index, message.prev_term, message.entries)
        if isinstance(plan, Reject):
            self._note_leader(sender, message.term)
            self._send(sender, Ack(message.term, message.round, plan.next_index, False, True))
            return
        # Only what this message has verified may be committed because of it: a longer log of this
        # replica may yet prove to be a deposed leader's.
        commit = min(message.commit_index, plan.covered)
        covered_term = message.entries[-1].term if message.entries else message.prev_term
        by_itself = follower_commit(self._voters, plan.covered, covered_term, message.term)
        if by_itself is not None:
            commit = max(commit, by_itself)
        before = self._adaptor.commit_index
        self._adaptor.deliver(
            sender,
            {
                "type": "append_entries",
                "term": message.term,
                "commit_index": commit,
                "entries": plan.entries,
                "prevLogIdx": plan.keep_through,
                "prevLogTerm": self.journal.term_at(plan.keep_through),
            },
        )
        assert self._adaptor.commit_index >= max(before, commit), (before, commit)
        self._send(sender, Ack(message.term, message.round, plan.covered + 1, True, False))

    # --- as a leader -----------------------------------------------------------------------------

    def _on_ack(self, sender: str, message: Ack) -> None:
        # The library counts an acknowledgement of any term; Raft only those of this one (§5.3).
        if self._heed_term(message.term):
            return
        if self.role is not Role.LEADER or message.term != self.term:
            return
        progress = self._progress[sender]
        reset = message.reset and message.round == progress.round
        if message.next_index - 1 > self.journal.last_index:
            raise InvariantViolated(
                f"{sender} acknowledges entry {message.next_index - 1} in term {message.term}, but "
                f"its leader's log ends at {self.journal.last_index}"
            )
        if message.success:
            progress.acknowledged(message.next_index - 1)
        if reset:
            progress.begin_round()
            self._send_now = True
        self._adaptor.deliver(
            sender,
            {
                "type": "next_node_idx",
                "next_node_idx": message.next_index,
                "reset": reset,
                "success": message.success,
            },
        )

    def _on_library_message(self, peer: str, message: dict[str, Any]) -> None:
        """What the library sends, as a typed message; its acknowledgements are the guard's own."""
        match message["type"]:
            case "append_entries":
                self._on_library_append(peer, message)
            case "request_vote":
                transfer = self._transfer_term == message["term"]
                last_index, last_term = message["last_log_index"], message["last_log_term"]
                self._send(peer, RequestVote(message["term"], last_index, last_term, transfer))
            case "response_vote":
                self._send(peer, Vote(message["term"], True))
            case "timeout_now":
                self._send(peer, TimeoutNow(message["term"]))
            case "next_node_idx":
                pass
            case kind:
                raise InvariantViolated(
                    f"the library sends {kind!r}, which the guard does not know"
                )

    def _on_library_append(self, peer: str, message: dict[str, Any]) -> None:
        term = message["term"]
        if "prevLogIdx" not in message:
            self._hush(peer, Heartbeat(term))
            self._begin_transfer(peer)
            return
        progress = self._progress[peer]
        if progress.outgoing is not None:
            # What it will need is behind the snapshot; until then a sign of life is enough.
            if message["entries"]:
                self._adaptor.rewind(peer, message["entries"][0].index)
            self._hush(peer, Heartbeat(term))
            return
        assert "transmission" not in message, "an entry larger than an append message"
        entries = tuple(message["entries"])
        prev_index, prev_term = message["prevLogIdx"], message["prevLogTerm"]
        commit_index = message["commit_index"]
        full = (
            progress.in_flight and progress.in_flight_bytes + _size(entries) > IN_FLIGHT_BYTES_MAX
        )
        if entries and full:
            # One heartbeat instead of a stream: the library's loop would go on until its end.
            self._adaptor.rewind(peer, entries[0].index)
            self._hush(peer, Append(term, progress.round, prev_index, prev_term, commit_index, ()))
            return
        if entries:
            progress.sent(entries)
        self._send(peer, Append(term, progress.round, prev_index, prev_term, commit_index, entries))

    def _hush(self, peer: str, message: Message) -> None:
        self._send(peer, message)
        self._adaptor.pause(peer)
        self._paused.append(peer)

    def _send(self, peer: str, message: Message) -> None:
        self._outbox.append((peer, message))

    # --- snapshots -------------------------------------------------------------------------------

    def _begin_transfer(self, peer: str) -> None:
        progress = self._progress[peer]
        if progress.outgoing is None:
            progress.outgoing = Outgoing(self._rng.getrandbits(62), self._now)

    def _continue_transfers(self) -> None:
        patience = self._timing.election_max_s * _TRANSFER_PATIENCE
        for peer, progress in self._progress.items():
            outgoing = progress.outgoing
            if outgoing is None:
                continue
            if self._now - outgoing.progress_at > patience:
                self._end_outgoing(peer)
            elif outgoing.wants_chunk:
                outgoing.reading = True
                self._jobs.append(ReadChunk(peer, outgoing.transfer))

    def _end_outgoing(self, peer: str) -> None:
        progress = self._progress[peer]
        if progress.outgoing is not None:
            self._jobs.append(EndRead(peer, progress.outgoing.transfer))
            progress.outgoing = None

    def chunk_read(self, peer: str, transfer: int, state: TableState, chunk: SnapshotChunk) -> None:
        """The result of `ReadChunk`."""
        outgoing = self._progress[peer].outgoing
        if outgoing is None or outgoing.transfer != transfer or self.role is not Role.LEADER:
            return
        number = outgoing.chunk_read(state, chunk)
        part = SnapshotPart(self.term, transfer, number, state, chunk.payload, chunk.last)
        self._send(peer, part)

    def _on_snapshot_ack(self, sender: str, message: SnapshotAck) -> None:
        if self._heed_term(message.term) or self.role is not Role.LEADER:
            return
        progress = self._progress[sender]
        outgoing = progress.outgoing
        if outgoing is None or outgoing.transfer != message.transfer or message.term != self.term:
            return
        self._adaptor.deliver(
            sender,
            {"type": "next_node_idx", "next_node_idx": 0, "reset": False, "success": False},
        )
        if message.wanted == GIVE_UP:
            self._finish_transfer(sender, self.journal.last_index + 1)
        elif outgoing.acknowledged < message.wanted <= outgoing.sent:
            outgoing.acknowledged = message.wanted
            outgoing.progress_at = self._now
            if outgoing.finished:
                assert outgoing.state is not None
                self._finish_transfer(sender, outgoing.state.applied + 1)

    def _finish_transfer(self, peer: str, next_index: int) -> None:
        self._end_outgoing(peer)
        self._progress[peer].begin_round()
        self._adaptor.rewind(peer, min(next_index, self.journal.last_index + 1))
        self._send_now = True

    def _on_snapshot_part(self, sender: str, message: SnapshotPart) -> None:
        if not self._from_leader(sender, message.term):
            return
        self._deliver_heartbeat(sender, message.term)
        if self.installing:
            return
        if message.state.applied <= self.commit_index:
            # It would turn the table back: what it holds is committed here already.
            self._incoming = None
            self._send(sender, SnapshotAck(message.term, message.transfer, GIVE_UP))
            return
        incoming = self._incoming
        if message.number == 0 and (incoming is None or incoming.transfer != message.transfer):
            incoming = self._incoming = Incoming(sender, message.transfer, message.state)
        if incoming is None or (incoming.sender, incoming.transfer) != (sender, message.transfer):
            self._send(sender, SnapshotAck(message.term, message.transfer, GIVE_UP))
            return
        if message.number != incoming.received or message.state != incoming.state:
            if message.number > incoming.received:
                self._incoming = None
                self._send(sender, SnapshotAck(message.term, message.transfer, GIVE_UP))
            return
        incoming.received += 1
        incoming.last_received = message.last
        self._jobs.append(StageChunk(sender, message.transfer, message.number, message.payload))

    def chunk_staged(self, sender: str, transfer: int, number: int) -> None:
        """The result of `StageChunk`."""
        incoming = self._incoming
        if incoming is None or (incoming.sender, incoming.transfer) != (sender, transfer):
            return
        if incoming.installing:
            return
        if incoming.last_received and number + 1 == incoming.received:
            if incoming.state.applied <= self.commit_index:
                self._incoming = None
                self._send(sender, SnapshotAck(self.term, transfer, GIVE_UP))
                return
            # From here to `snapshot_installed` no entry is appended or committed.
            incoming.installing = True
            self._jobs.append(InstallSnapshot(sender, transfer, incoming.state))
        else:
            self._send(sender, SnapshotAck(self.term, transfer, number + 1))

    def chunk_refused(self, sender: str, transfer: int) -> None:
        """A staged chunk was malformed: nothing of the transfer is used."""
        if self._incoming is not None and self._incoming.transfer == transfer:
            self._incoming = None
            self._send(sender, SnapshotAck(self.term, transfer, GIVE_UP))

    def snapshot_installed(self) -> None:
        """The result of `InstallSnapshot`: the table has been replaced, now the log is."""
        incoming = self._incoming
        assert incoming is not None and incoming.installing
        self._adaptor.install(incoming.state.applied, incoming.state.applied_term)
        self._send(incoming.sender, SnapshotAck(self.term, incoming.transfer, incoming.received))
        self._incoming = None


def is_no_op(command: bytes) -> bool:
    """Whether an entry is a new leader's first, which holds no batch."""
    return command == NO_OP
