"""As a follower: what the leader's appends do to the log, and what is acknowledged of them.

Every message comes here only once it is known to be of the present term's leader (`elections`).
The library receives appends that `reconcile` has put right, so it deletes and commits only what
Raft would; its own acknowledgements go nowhere, those sent are made here.

A follower commits by itself what it knows a majority to hold durably (`quorum.follower_commit`), so
that a write costs one round trip and not two: it counts itself, the leader by the leader's `Held`,
and with more than three voters the other followers by their `Matched`, which each sends to the
others beside its acknowledgement to the leader. With three voters the leader's word is enough, and
nothing of the kind is sent. What is lost of it (a link that is down, a message of another term) is
made up for by the leader, which tells all what it has committed. Learners commit by the same rule,
but nobody counts them, themselves included; nor whoever joins, though it may have a vote
(`recovery`).

Invariants: the commit index never falls, and covers only what was matched with the leader of the
current term; an acknowledgement covers only what its append has verified; what others are said to
hold is of the current term, as is what they are told.
"""

from globaltable.raft.adaptor import Adaptor
from globaltable.raft.journal import Journal
from globaltable.raft.membership import Membership
from globaltable.raft.messages import Ack, Append, Heartbeat, Held, JoinerAck, Matched, Send
from globaltable.raft.quorum import follower_commit
from globaltable.raft.reconcile import Reject, reconcile
from globaltable.raft.recovery import Recovery
from globaltable.raft.snapshots import SnapshotReceiver


class Follower:
    """The follower that a replica is while another one leads."""

    def __init__(
        self,
        *,
        membership: Membership,
        adaptor: Adaptor,
        journal: Journal,
        snapshots: SnapshotReceiver,
        recovery: Recovery,
        send: Send,
    ) -> None:
        self._recovery = recovery
        self._membership = membership
        self._adaptor = adaptor
        self._journal = journal
        self._snapshots = snapshots
        self._send = send
        self._term = 0
        """All that follows is of this term, and is void in another."""
        self._leader = ""
        """Who sent the appends that were matched."""
        self._matched = 0
        """What is held here, as far as it agrees with the leader."""
        self._told_committed = 0
        """What the leader has told to be committed, held here or not."""
        self._held: dict[str, int] = {}
        """What others have told to hold durably, as far as it agrees with the leader."""
        self._told: dict[str, int] = {}
        """What others have been told to be held here, over the present link to each."""
        self.has_room = True
        """Without it no append is taken, as if it had been lost: its leader hears that this replica
        lives, and sends again what is missing once an append is answered."""

    def _heed(self, term: int) -> None:
        """What is known of an earlier term's leader, and of who agreed with it, says nothing of
        this one's: what they held then may have given way since."""
        if term != self._term:
            self._term = term
            self._matched = self._told_committed = 0
            self._held.clear()
            self._told.clear()

    def _note_held(self, who: str, index: int) -> None:
        """Words may come late, twice and in any order; within a term what is held never shrinks."""
        self._held[who] = max(index, self._held.get(who, 0))

    def on_heartbeat(self, sender: str, term: int, attempt: int = 0) -> None:
        """The leader lives. To answer it promises nothing but that this replica does, too."""
        self._adaptor.deliver(sender, Heartbeat(term))
        self._send(sender, Ack(term, attempt, 0, success=False, reset=False))

    def on_append(self, sender: str, message: Append) -> None:
        if self._snapshots.installing or not self.has_room:
            self.on_heartbeat(sender, message.term, message.round)
            return
        plan = reconcile(self._journal, message.prev_index, message.prev_term, message.entries)
        if isinstance(plan, Reject):
            self._adaptor.deliver(sender, Heartbeat(message.term))
            self._send(sender, Ack(message.term, message.round, plan.next_index, False, True))
            return
        self._heed(message.term)
        self._matched = max(self._matched, plan.covered)
        self._leader = sender
        self._told_committed = max(self._told_committed, message.commit_index)
        self._note_held(sender, message.held)
        # Only what this message has verified may be committed because of it: a longer log of this
        # replica may yet prove to be a deposed leader's.
        commit = min(message.commit_index, plan.covered)
        before = self._adaptor.commit_index
        keep_term = self._journal.term_at(plan.keep_through)
        corrected = message._replace(
            prev_index=plan.keep_through,
            prev_term=keep_term,
            commit_index=commit,
            entries=tuple(plan.entries),
        )
        self._adaptor.deliver(sender, corrected)
        assert self._adaptor.commit_index >= max(before, commit), (before, commit)
        if self._recovery.counts:
            self._send(sender, Ack(message.term, message.round, plan.covered + 1, True, False))
        else:
            self._send(sender, JoinerAck(message.term, message.round, plan.covered + 1))
        self._commit_by_itself()

    def on_held(self, sender: str, message: Held) -> None:
        """The leader of the present term holds more."""
        self._on_word(sender, message)

    def on_matched(self, sender: str, message: Matched) -> None:
        """Another follower of the present term's leader holds more."""
        self._on_word(sender, message)

    def _on_word(self, sender: str, message: Held | Matched) -> None:
        self._heed(message.term)
        self._note_held(sender, message.through)
        # While a snapshot is being installed nothing is committed; the word is kept.
        if not self._snapshots.installing:
            self._commit_by_itself()

    def on_recover(self, sender: str) -> None:
        """It has lost what it told. To go on counting it would be harmless (`recovery`)."""
        self._held.pop(sender, None)
        self._told.pop(sender, None)

    # --- what the other followers are told -------------------------------------------------------

    def tell_matched(self) -> None:
        """At the end of a step: tell the others, once, how far this follower has come.

        It leaves as acknowledgements do, only once what it promises is durable. Nothing is sent if
        nothing has risen, and nothing of what the leader has told to be committed: it tells the
        others, too, so one that catches up keeps quiet.
        """
        membership = self._membership
        if membership.voter_count <= 3 or self._term != self._adaptor.term:
            return
        if not membership.is_voter or not self._recovery.counts:
            return
        matched = self._matched
        assert matched <= self._journal.last_index, (matched, self._journal.last_index)
        if matched <= self._told_committed:
            return
        for peer in membership.fellows:
            if peer == self._leader or self._told.get(peer, 0) >= matched:
                continue
            if self._adaptor.is_connected(peer):
                self._told[peer] = matched
                self._send(peer, Matched(self._term, matched))

    def forget_told(self, peer: str) -> None:
        """The link to it came up or went down: what was told may be lost, and is told again."""
        self._told.pop(peer, None)

    # --- commit ----------------------------------------------------------------------------------

    @property
    def told_committed(self) -> int:
        """What the leader of the present term has told to be committed, held here or not."""
        return self._told_committed

    def _commit_by_itself(self) -> None:
        """Commit what a majority is known to hold, this follower among it.

        That this follower holds it durably is not known yet, but will be: what a step commits is
        applied, and answered, only once the writes of that step are durable (`group`).

        The voters are those of the latest configuration at or below `_matched`, of which alone it
        is certain that it stands in the leader's log, too: one behind that may be a deposed
        leader's. The leader itself may have a later one already, and count by that. Both counts are
        sound, for what they count on is not that it is the latest: any majority of the voters
        counted here shares one with any majority of a configuration that a later leader without the
        entry could have. That one stands before the entry in this leader's log (had it come after,
        the entry would stand before it there as well), and so is the one counted by, or the one
        before that: all earlier ones were superseded by one that was committed before the next was
        appended (thesis §4.1), and a leader holds what is committed. Two configurations in turn
        differ by one voter, and their majorities meet (§4.1, figure 4.3).
        """
        journal, matched = self._journal, self._matched
        members = journal.members_at(matched)
        if members is None:
            return
        voters = members.voters
        held = [index for who, index in self._held.items() if who in voters]
        votes = self._membership.node in voters and self._recovery.counts
        index = follower_commit(len(voters), matched, held, votes=votes)
        if index <= self._adaptor.commit_index or journal.term_at(index) != self._term:
            return
        last_index, last_term = journal.last_index, journal.last_term
        told = Append(self._term, 0, last_index, last_term, index, 0, ())
        self._adaptor.deliver(self._leader, told)
        assert self._adaptor.commit_index == index, (self._adaptor.commit_index, index)
