"""As a follower: what the leader's appends do to the log, and what is acknowledged of them.

Every message comes here only once it is known to be of the present term's leader (`elections`).
The library receives appends that `reconcile` has put right, so it deletes and commits only what
Raft would; its own acknowledgements go nowhere, those sent are made here.

Invariants: the commit index never falls, and covers only what was matched with the leader of the
current term; an acknowledgement covers only what its append has verified.
"""

from globaltable.raft.adaptor import Adaptor
from globaltable.raft.journal import Journal
from globaltable.raft.messages import Ack, Append, Heartbeat, Send
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
        # Only what this message has verified may be committed because of it: a longer log of this
        # replica may yet prove to be a deposed leader's.
        commit = min(message.commit_index, plan.covered)
        covered_term = message.entries[-1].term if message.entries else message.prev_term
        by_itself = follower_commit(self._voters, plan.covered, covered_term, message.term)
        if by_itself is not None:
            commit = max(commit, by_itself)
        before = self._adaptor.commit_index
        keep_term = self._journal.term_at(plan.keep_through)
        corrected = Append(
            message.term, message.round, plan.keep_through, keep_term, commit, tuple(plan.entries)
        )
        self._adaptor.deliver(sender, corrected)
        assert self._adaptor.commit_index >= max(before, commit), (before, commit)
        self._send(sender, Ack(message.term, message.round, plan.covered + 1, True, False))
