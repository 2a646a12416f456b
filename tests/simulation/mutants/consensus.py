"""Mutants of the rules of Raft, most of them what the library does when it is left alone."""

from collections.abc import Sequence
from typing import Final

from globaltable.raft import follower
from globaltable.raft.adaptor import Adaptor
from globaltable.raft.elections import Elections
from globaltable.raft.follower import Follower
from globaltable.raft.journal import Journal
from globaltable.raft.messages import Append, RecoverReply, RequestVote, SnapshotPart
from globaltable.raft.reconcile import Accept, Reject, reconcile
from globaltable.raft.recovery import Phase, Recovery
from globaltable.raft.snapshots import SnapshotReceiver
from globaltable.store.log import Entry
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.schedule import LEADER, Fault


def _truncate_always(
    journal: Journal, prev_index: int, prev_term: int, entries: Sequence[Entry]
) -> Accept | Reject:
    """As the library does: whatever stands behind the message's previous entry goes."""
    if prev_index < journal.first_index or prev_index > journal.last_index:
        return reconcile(journal, prev_index, prev_term, entries)
    if journal.term_at(prev_index) != prev_term:
        return reconcile(journal, prev_index, prev_term, entries)
    return Accept(prev_index, entries, prev_index + len(entries))


def _believe_previous_entry(
    journal: Journal, prev_index: int, prev_term: int, entries: Sequence[Entry]
) -> Accept | Reject:
    """No consistency check of the previous entry's term."""
    if journal.first_index <= prev_index <= journal.last_index:
        prev_term = journal.term_at(prev_index)
    return reconcile(journal, prev_index, prev_term, entries)


def _commit_with_chunks(self: SnapshotReceiver, sender: str, message: SnapshotPart) -> None:
    """A chunk of a snapshot carries a commit index, which covers an unmatched tail."""
    _on_part(self, sender, message)
    _commit_unmatched(self._adaptor, message.state.applied)


def _commit_unmatched(adaptor: Adaptor, index: int) -> None:
    index = min(index, adaptor._journal.last_index)
    if index > adaptor.commit_index:
        adaptor._journal.setRaftCommitIndex(index)
        adaptor.core._SyncObj__raftCommitIndex = index


def _install_backwards(self: Adaptor, index: int, term: int) -> None:
    self._journal.reset(index, term)
    self._journal._commit_index = index
    self.core._SyncObj__raftLastApplied = self.core._SyncObj__raftCommitIndex = index


def _vote_twice(self: Elections, sender: str, message: RequestVote) -> None:
    self._adaptor.core._SyncObj__votedForNodeId = None
    _on_request_vote(self, sender, message)


def _commit_falls(self: Follower, sender: str, message: Append) -> None:
    """The library's issue 166: the commit index is the leader's, wherever it was before."""
    _on_append(self, sender, message)
    core = self._adaptor.core
    if message.commit_index < core._SyncObj__raftCommitIndex:
        core._SyncObj__raftCommitIndex = self._journal._commit_index = message.commit_index


def _whole_at_once(self: Recovery, sender: str, message: RecoverReply) -> None:
    _on_reply(self, sender, message)
    if self.phase is Phase.CATCHING_UP:
        self.barrier_applied(None)


_on_reply = Recovery.on_reply
_on_append = Follower.on_append
_on_part = SnapshotReceiver.on_part
_on_request_vote = Elections.on_request_vote

_LEADERS_GO_AS_OTHERS_LOSE: Final = tuple(
    fault
    for node in range(3)
    for fault in (
        Fault(0.45 * node + 0.1, "split", LEADER, node, 0.3),
        Fault(0.45 * node + 0.25, "damaged log", node, 0, 0.01),
        Fault(0.45 * node + 0.4, "isolate", LEADER, 0, 0.6),
    )
)
"""What the leader and one other hold is lost by that one, and the leader cannot be reached."""

MUTANTS: Final[dict[str, Mutant]] = {
    "truncate behind every append": Mutant(
        "delete log entries only from the first that conflicts",
        lambda: [(follower, "reconcile", _truncate_always)],
        2,
    ),
    "no check of the previous entry": Mutant(
        "an append matches only if its previous entry is held",
        lambda: [(follower, "reconcile", _believe_previous_entry)],
        1,
        first_seed=96,
    ),
    "commit with the chunks of a snapshot": Mutant(
        "a snapshot chunk carries no commit index",
        lambda: [(SnapshotReceiver, "on_part", _commit_with_chunks)],
        1,
        first_seed=14,
    ),
    "install any snapshot": Mutant(
        "a snapshot that ends at or below what is committed is not installed",
        lambda: [
            (SnapshotReceiver, "_is_needed", lambda *_: True),
            (Adaptor, "install", _install_backwards),
        ],
        1,
        first_seed=7,
    ),
    "vote twice": Mutant(
        "one vote per voter per term",
        lambda: [(Elections, "on_request_vote", _vote_twice)],
        2,
        first_seed=10,
        fixed={"nodes": 5},
    ),
    "commit index falls": Mutant(
        "the commit index never falls",
        lambda: [(Follower, "on_append", _commit_falls)],
        1,
    ),
    "rebuilt, and at once a voter": Mutant(
        "a replica that lost what it had promised votes only once it is whole",
        lambda: [(Journal, "rebuilding", False)],
        2,
        first_seed=1,
        fixed={"nodes": 3, "faults": _LEADERS_GO_AS_OTHERS_LOSE},
    ),
    "rebuilt, and whole without a barrier": Mutant(
        "a replica is whole behind a batch of its own, not before",
        lambda: [(Recovery, "on_reply", _whole_at_once)],
        2,
        first_seed=20,
        fixed={"nodes": 3, "faults": _LEADERS_GO_AS_OTHERS_LOSE},
    ),
}
