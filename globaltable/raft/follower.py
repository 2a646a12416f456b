"""As a follower: what the leader's appends do to the log, and what is acknowledged of them.

Every message comes here only once it is known to be of the present term's leader (`elections`).
The library receives appends that `reconcile` has put right, so it deletes and commits only what
Raft would; its own acknowledgements go nowhere, those sent are made here.

Invariants: the commit index never falls, and covers only what was matched with the leader of the
current term; an acknowledgement covers only what its append has verified.
"""

from globaltable.raft.adaptor import Adaptor
from globaltable.raft.journal import Journal
from globaltable.raft.messages import Ack, Append, Heartbeat, Held, Send
from globaltable.raft.quorum import follower_commit
from globaltable.raft.reconcile import Reject, reconcile
from globaltable.raft.snapshots import SnapshotReceiver


class Follower:
    """The follower that a replica is while another one leads."""

    def __init__(
        self,
        *,
        voters: int,
        adaptor: Adaptor,
        journal: Journal,
        snapshots: SnapshotReceiver,
        send: Send,
    ) -> None:
        self._voters = voters
        self._adaptor = adaptor
        self._journal = journal
        self._snapshots = snapshots
        self._send = send
        self._term = 0
        self._matched = 0
        self._leader_held = 0

    def _heed(self, term: int) -> None:
        """What is known of an earlier term's leader says nothing of this one's."""
        if term != self._term:
            self._term = term
            self._matched = self._leader_held = 0

    def on_heartbeat(self, sender: str, term: int, attempt: int = 0) -> None:
        """The leader lives. To answer it promises nothing but that this replica does, too."""
        self._adaptor.deliver(sender, Heartbeat(term))
        self._send(sender, Ack(term, attempt, 0, success=False, reset=False))

    def on_append(self, sender: str, message: Append) -> None:
        if self._snapshots.installing:
            self.on_heartbeat(sender, message.term, message.round)
            return
        plan = reconcile(self._journal, message.prev_index, message.prev_term, message.entries)
        if isinstance(plan, Reject):
            self._adaptor.deliver(sender, Heartbeat(message.term))
            self._send(sender, Ack(message.term, message.round, plan.next_index, False, True))
            return
        self._heed(message.term)
        self._matched = max(self._matched, plan.covered)
        self._leader_held = max(self._leader_held, message.held)
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
        self._send(sender, Ack(message.term, message.round, plan.covered + 1, True, False))
        self._commit_by_itself(sender)

    def on_held(self, sender: str, message: Held) -> None:
        self._heed(message.term)
        self._leader_held = max(self._leader_held, message.through)
        if not self._snapshots.installing:
            self._commit_by_itself(sender)

    def _commit_by_itself(self, leader: str) -> None:
        """Commit what the leader and this follower hold, if they are a majority.

        That this follower holds it durably is not known yet, but will be: what a step commits is
        applied, and answered, only once the writes of that step are durable (`group`).
        """
        journal = self._journal
        index = follower_commit(self._voters, self._matched, self._leader_held)
        if index <= self._adaptor.commit_index or journal.term_at(index) != self._term:
            return
        last_index, last_term = journal.last_index, journal.last_term
        told = Append(self._term, 0, last_index, last_term, index, 0, ())
        self._adaptor.deliver(leader, told)
        assert self._adaptor.commit_index == index, (self._adaptor.commit_index, index)
