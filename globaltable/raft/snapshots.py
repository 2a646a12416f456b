"""Snapshots in place of a log that is no longer kept: what both sides do with a transfer's chunks.

Of all this the library learns that the other side lives, and where log and state begin once a
snapshot is installed. Reading, staging and installing are jobs; their results come back as inputs.

Invariants: a snapshot is installed only if it ends behind all that is committed here, only at the
word of the leader of the present term, and only if the log does not hold its end: otherwise what
follows it in the log, and may have been acknowledged, would go (Raft figure 13, rule 6). Until it
is installed no entry is appended or committed, and the replica does not campaign. The chunks of a
transfer are staged in order, none twice; the sender does not wait for good: what makes no progress
is given up.
"""

import random
from collections.abc import Callable
from typing import Final

from globaltable.raft.adaptor import Adaptor, Role, Timing
from globaltable.raft.journal import Journal
from globaltable.raft.membership import Membership
from globaltable.raft.messages import Ack, Send, SnapshotAck, SnapshotPart
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
from globaltable.store.table import SnapshotChunk
from globaltable.table_state import TableState

_PATIENCE: Final = 10
"""Election timeouts without progress after which a snapshot transfer is given up."""

Ask = Callable[[Job], None]


class SnapshotSender:
    """As a leader: transfers to followers that need what the log no longer holds."""

    def __init__(
        self,
        *,
        membership: Membership,
        adaptor: Adaptor,
        journal: Journal,
        timing: Timing,
        rng: random.Random,
        send: Send,
        ask: Ask,
    ) -> None:
        self._membership = membership
        self._adaptor = adaptor
        self._journal = journal
        self._patience_s = timing.election_max_s * _PATIENCE
        self._rng = rng
        self._send = send
        self._ask = ask
        self._outgoing: dict[str, Outgoing] = {}

    @property
    def oldest(self) -> int | None:
        """The least index at which a snapshot under way ends."""
        states = [outgoing.state for outgoing in self._outgoing.values()]
        return min((state.applied for state in states if state is not None), default=None)

    def is_sending(self, peer: str) -> bool:
        return peer in self._outgoing

    def begin(self, peer: str) -> None:
        if peer not in self._outgoing:
            self._outgoing[peer] = Outgoing(self._rng.getrandbits(62), self._adaptor.now)

    def proceed(self) -> None:
        """Read on where the window allows it; give up what makes no progress."""
        if not self._outgoing:
            return
        for peer in self._membership.peers:
            outgoing = self._outgoing.get(peer)
            if outgoing is None or outgoing.reading:
                continue
            if self._adaptor.now - outgoing.progress_at > self._patience_s:
                self.end(peer)
            elif outgoing.wants_chunk:
                outgoing.reading = True
                self._ask(ReadChunk(peer, outgoing.transfer))

    def end(self, peer: str) -> None:
        outgoing = self._outgoing.pop(peer, None)
        if outgoing is not None:
            self._ask(EndRead(peer, outgoing.transfer))

    def chunk_read(self, peer: str, transfer: int, state: TableState, chunk: SnapshotChunk) -> None:
        """The result of `ReadChunk`."""
        outgoing = self._outgoing.get(peer)
        if outgoing is None or outgoing.transfer != transfer:
            return
        if self._adaptor.role is not Role.LEADER:
            self.end(peer)
            return
        if outgoing.state is None:
            # The wait for the own disk, where others may have had their turn first, is over.
            outgoing.progress_at = self._adaptor.now
        number = outgoing.chunk_read(state, chunk)
        term = self._adaptor.term
        self._send(peer, SnapshotPart(term, transfer, number, state, chunk.payload, chunk.last))

    def on_ack(self, sender: str, message: SnapshotAck) -> int | None:
        """The index of the entry to go on with, if the transfer has ended."""
        outgoing = self._outgoing.get(sender)
        if outgoing is None or outgoing.transfer != message.transfer:
            return None
        # For the library an answer that the follower lives, and nothing else.
        self._adaptor.deliver(sender, Ack(message.term, 0, 0, success=False, reset=False))
        if message.wanted == GIVE_UP:
            self.end(sender)
            return self._journal.last_index + 1
        if outgoing.acknowledged < message.wanted <= outgoing.sent:
            outgoing.acknowledged = message.wanted
            outgoing.progress_at = self._adaptor.now
            if outgoing.finished:
                assert outgoing.state is not None
                self.end(sender)
                return outgoing.state.applied + 1
        return None


class SnapshotReceiver:
    """As a follower: the one snapshot that the leader is sending, if it is."""

    def __init__(self, *, adaptor: Adaptor, journal: Journal, send: Send, ask: Ask) -> None:
        self._adaptor = adaptor
        self._journal = journal
        self._send = send
        self._ask = ask
        self._incoming: Incoming | None = None

    @property
    def installing(self) -> bool:
        return self._incoming is not None and self._incoming.installing

    def on_part(self, sender: str, message: SnapshotPart) -> None:
        """A chunk from the leader of the present term."""
        if self.installing:
            return
        incoming = self._incoming
        if not self._is_needed(message.state):
            self._give_up(sender, message.transfer)
            return
        if message.number == 0 and (incoming is None or incoming.transfer != message.transfer):
            incoming = Incoming(message.term, sender, message.transfer, message.state)
            self._incoming = incoming
        if incoming is None or (incoming.sender, incoming.transfer) != (sender, message.transfer):
            self._send(sender, SnapshotAck(message.term, message.transfer, GIVE_UP))
            return
        if message.number != incoming.received or message.state != incoming.state:
            if message.number > incoming.received:
                self._give_up(sender, message.transfer)
            return
        incoming.received += 1
        incoming.last_received = message.last
        self._ask(StageChunk(sender, message.transfer, message.number, message.payload))

    def chunk_staged(self, sender: str, transfer: int, number: int) -> None:
        """The result of `StageChunk`."""
        incoming = self._incoming
        if incoming is None or (incoming.sender, incoming.transfer) != (sender, transfer):
            return
        if incoming.installing:
            return
        if incoming.term != self._adaptor.term or self._adaptor.leader != sender:
            self._incoming = None
        elif not incoming.last_received or number + 1 != incoming.received:
            self._send(sender, SnapshotAck(self._adaptor.term, transfer, number + 1))
        elif not self._is_needed(incoming.state):
            self._give_up(sender, transfer)
        else:
            # From here to `installed` no entry is appended or committed.
            incoming.installing = True
            self._ask(InstallSnapshot(sender, transfer, incoming.state))

    def chunk_refused(self, sender: str, transfer: int) -> None:
        """A staged chunk was malformed: nothing of the transfer is used."""
        if self._incoming is not None and self._incoming.transfer == transfer:
            self._give_up(sender, transfer)

    def installed(self) -> None:
        """The result of `InstallSnapshot`: the table has been replaced, now the log is."""
        incoming = self._incoming
        assert incoming is not None and incoming.installing
        state = incoming.state
        self._adaptor.install(state.applied, state.applied_term, state.members)
        ack = SnapshotAck(self._adaptor.term, incoming.transfer, incoming.received)
        self._send(incoming.sender, ack)
        self._incoming = None

    def _is_needed(self, state: TableState) -> bool:
        """Neither would it turn the table back, nor take acknowledged entries from the log."""
        if state.applied <= self._adaptor.commit_index:
            return False
        journal = self._journal
        held = journal.holds(state.applied) and journal.term_at(state.applied) == state.applied_term
        return not held

    def _give_up(self, sender: str, transfer: int) -> None:
        self._incoming = None
        self._send(sender, SnapshotAck(self._adaptor.term, transfer, GIVE_UP))
