"""As a leader: what each follower is sent, and what its answers tell of its log.

The library picks the entries and counts who holds them. But it would stream to a follower without
a bound, and has no snapshot for one that needs it: so its loop of sends to a follower is ended here
once that has been sent enough for now. Answers come here only if they are to the leader of the
present term (`elections`).

Appends may leave before what they carry is durable here (Raft thesis §10.2.1). This replica does
not count as one that holds it before it is: the library counts in its tick alone, and there is none
before the write of the last one is durable (asserted by `journal`); followers are told by `Held`.
That spares a write one sync of its two, and costs a message to each follower; so while many entries
are under way appends wait for the sync instead, and say themselves what is held.

Invariants: an entry is committed only if a majority holds it durably; no follower acknowledges what
its leader does not have; a rejection is heeded only if it answers the present attempt to find where
the logs agree.
"""

from typing import Final

from globaltable.raft.adaptor import Adaptor, Role
from globaltable.raft.journal import InvariantViolated, Journal
from globaltable.raft.membership import Membership
from globaltable.raft.messages import Ack, Append, Heartbeat, Held, Message, Send, SnapshotAck
from globaltable.raft.progress import Progress
from globaltable.raft.snapshots import SnapshotSender

EARLY_ENTRIES_MAX: Final = 4
"""Appends leave before they are durable while fewer entries than this await their commit."""


class Replication:
    """The way of a leader's log to its followers. While another replica leads, it rests."""

    def __init__(
        self,
        *,
        membership: Membership,
        adaptor: Adaptor,
        journal: Journal,
        snapshots: SnapshotSender,
        send: Send,
    ) -> None:
        self._adaptor = adaptor
        self._journal = journal
        self._snapshots = snapshots
        self._send = send
        self._membership = membership
        self._progress = {peer: Progress() for peer in membership.peers}
        self._hushed: list[str] = []
        self._commit_index_before = 0
        self._held = 0
        """What appends say is durable here: what is, or what will be by the time they leave."""
        self._told_held = (0, 0)
        """The term and index that followers were told of as held here."""
        self.wants_send = False
        """Something is to be sent without waiting for the clock."""
        self.may_commit = False
        """The commit index may rise at the next tick."""

    # --- around the library's tick ---------------------------------------------------------------

    def before_tick(self) -> None:
        self._commit_index_before = self._adaptor.commit_index
        last_index, durable = self._journal.last_index, self._journal.durable_index
        under_way = durable - self._adaptor.commit_index
        self._held = durable if under_way < EARLY_ENTRIES_MAX else last_index
        self.may_commit = False
        if self.wants_send:
            self._adaptor.send_now()
            self.wants_send = False

    def after_tick(self) -> None:
        for peer in self._hushed:
            self._adaptor.resume(peer)
        self._hushed.clear()
        if self._adaptor.role is not Role.LEADER:
            self._rest()
            return
        if self._tells_commits and self._adaptor.commit_index > self._commit_index_before:
            # Followers commit by themselves, but with more than three voters they need each other's
            # word for it, and links between them may be down; learners are not told it at all.
            # Where more is under way the appends to come will tell them; the last one's commit
            # would be told by a heartbeat only.
            self.wants_send |= self._adaptor.commit_index == self._journal.last_index
        self._snapshots.proceed()

    @property
    def _tells_commits(self) -> bool:
        membership = self._membership
        return membership.voter_count > 3 or len(membership.peers) > len(membership.fellows)

    def _rest(self) -> None:
        for peer, progress in self._progress.items():
            self._snapshots.end(peer)
            if progress.in_flight:
                progress.begin_round()

    # --- members and links -----------------------------------------------------------------------

    def members_changed(self) -> None:
        """By an entry of the log, between two ticks of the library."""
        assert not self._hushed, "amid a tick"
        peers = self._membership.peers
        for gone in [peer for peer in self._progress if peer not in peers]:
            self._snapshots.end(gone)
            del self._progress[gone]
        for peer in peers:
            if peer not in self._progress:
                self._progress[peer] = Progress()
                if self._adaptor.role is Role.LEADER:
                    self._send_from(peer, self._journal.last_index + 1)

    def knows(self, peer: str) -> bool:
        """Whether it is sent anything: answers of others are to a leader of another time."""
        return peer in self._progress

    def set_connected(self, peer: str, up: bool) -> None:
        """A link came up or went down. What was in flight on it may be lost."""
        if peer not in self._progress:
            self._adaptor.set_connected(peer, up)
            return
        self._progress[peer].begin_round()
        if peer in self._hushed:
            self._hushed.remove(peer)
        if not up:
            self._snapshots.end(peer)
        elif self._adaptor.role is Role.LEADER:
            # From behind what it is known to hold. If nothing is known, it is asked at the end of
            # the log, and its rejection tells: most hold nearly all of it, and few need a snapshot.
            known = self._adaptor.match_index(peer) or self._journal.last_index
            self._send_from(peer, known + 1)
        self._adaptor.set_connected(peer, up)

    def _send_from(self, peer: str, index: int) -> None:
        self._adaptor.rewind(peer, index)
        self.wants_send = True

    # --- answers ---------------------------------------------------------------------------------

    def on_ack(self, sender: str, message: Ack) -> None:
        if message.next_index - 1 > self._journal.last_index:
            raise InvariantViolated(
                f"{sender} acknowledges entry {message.next_index - 1} in term {message.term}, but "
                f"its leader's log ends at {self._journal.last_index}"
            )
        progress = self._progress[sender]
        reset = message.reset and message.round == progress.round
        if message.success:
            progress.acknowledged(message.next_index - 1)
        if reset:
            progress.begin_round()
            self.wants_send = True
        self._adaptor.deliver(sender, message._replace(reset=reset))
        if message.success:
            # The library would send all that is in flight again, at every acknowledgement. Links
            # keep order and lose nothing but by breaking; what is lost all the same leaves a gap
            # before the next append or heartbeat, which is then rejected.
            self._adaptor.rewind(sender, max(progress.last_sent + 1, message.next_index))
            self.may_commit |= message.next_index - 1 > self._adaptor.commit_index

    def persisted(self) -> list[tuple[str, Message]]:
        """More of the log is durable here: followers are told."""
        held = (self._adaptor.term, self._journal.durable_index)
        if self._adaptor.role is not Role.LEADER or self._told_held >= held:
            return []
        self._told_held = held
        return [(peer, Held(*held)) for peer in self._progress]

    def on_snapshot_ack(self, sender: str, message: SnapshotAck) -> None:
        next_index = self._snapshots.on_ack(sender, message)
        if next_index is not None:
            self._progress[sender].begin_round()
            self._send_from(sender, min(next_index, self._journal.last_index + 1))

    def on_recover(self, sender: str) -> None:
        """The follower has lost its log: it holds nothing of what it has acknowledged.

        What was committed because it did stays committed (`recovery`). A question that comes late,
        of one that is whole again, costs no more than an acknowledgement to know so.
        """
        if self._adaptor.role is Role.LEADER and self.knows(sender):
            self._snapshots.end(sender)
            self._progress[sender].begin_round()
            self._adaptor.forget_match(sender)
            # As of a peer that has not answered yet: it is asked at the end of the log.
            self._adaptor.rewind(sender, self._journal.last_index + 1)

    # --- appends ---------------------------------------------------------------------------------

    def on_library_heartbeat(self, peer: str, message: Heartbeat) -> None:
        """What the peer needs next is no longer in the log."""
        self._hush(peer, message)
        self._snapshots.begin(peer)

    def on_library_append(self, peer: str, message: Append) -> None:
        """The library has noted already that the peer will hold these entries; where they are not
        sent now, `rewind` takes that back."""
        entries, progress = message.entries, self._progress[peer]
        if self._snapshots.is_sending(peer):
            # What it will need is behind the snapshot; until then a sign of life is enough.
            if entries:
                self._adaptor.rewind(peer, entries[0].index)
            self._hush(peer, Heartbeat(message.term))
        elif entries and not progress.has_room_for(entries):
            # One heartbeat instead of a stream: the library's loop would go on until its end.
            self._adaptor.rewind(peer, entries[0].index)
            self._hush(peer, message._replace(round=progress.round, held=self._held, entries=()))
        else:
            if entries:
                progress.sent(entries)
            self._send(peer, message._replace(round=progress.round, held=self._held))
            self._told_held = max(self._told_held, (message.term, self._held))

    def _hush(self, peer: str, message: Message) -> None:
        """Send this, and nothing more before the end of the next tick."""
        self._send(peer, message)
        self._adaptor.pause(peer)
        self._hushed.append(peer)
