"""Deliberate faults: each takes one rule away, and the simulation must notice.

A simulation that finds nothing proves nothing until it is seen to find something. `applied` puts a
mutant into the production classes for the length of a `with`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from globaltable import group
from globaltable.history import History
from globaltable.proposals import Proposals
from globaltable.raft import follower, quorum
from globaltable.raft.adaptor import Adaptor
from globaltable.raft.elections import Elections
from globaltable.raft.follower import Follower
from globaltable.raft.journal import Journal
from globaltable.raft.messages import Append, RequestVote, SnapshotPart
from globaltable.raft.reconcile import Accept, Reject, reconcile
from globaltable.raft.snapshots import SnapshotReceiver
from globaltable.store.log import Entry, LogWrite
from globaltable.table import Table
from tests.simulation import world
from tests.simulation.schedule import Schedule, draw

Patch = tuple[Any, str, Any]


class Mutant(NamedTuple):
    rule: str
    """The rule that it breaks, in the words of the design."""
    patches: Callable[[], Sequence[Patch]]
    seeds: int
    """It is caught within so many seeds, from `first_seed` on."""
    first_seed: int = 0
    fixed: Mapping[str, Any] = MappingProxyType({})
    """What its schedules have in common, where the rule matters only there."""

    def schedules(self) -> Iterator[Schedule]:
        for seed in range(self.first_seed, self.first_seed + self.seeds):
            yield draw(seed)._replace(**self.fixed)


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    patches = mutant.patches()
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


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


def _commit_to_own_end(self: Follower, sender: str, message: Append) -> None:
    plan = reconcile(self._journal, message.prev_index, message.prev_term, message.entries)
    _on_append(self, sender, message)
    if isinstance(plan, Accept):
        # The library's `min(leader's commit, own last index)`.
        _commit_unmatched(self._adaptor, message.commit_index)


_SHORT_APPENDS: Final[Patch] = (
    world,
    "SMALL_LIMITS",
    tuple(
        (module, name, 150 if name == "APPEND_BYTES_MAX" else value)
        for module, name, value in world.SMALL_LIMITS
    ),
)
"""An append seldom ends before the entry that conflicts, unless it holds but one or two."""


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


def _forget_term(self: Journal) -> LogWrite | None:
    write = _take_write(self)
    return None if write is None else write._replace(hard_state=None)


def _commit_by_itself_anywhere(voters: int, matched: int, leader_held: int) -> int:
    return quorum.follower_commit(3, matched, leader_held)


def _take_an_append_for_held(self: Follower, sender: str, message: Append) -> None:
    """As if the leader persisted before it sent."""
    _on_append(self, sender, message)
    if self._term == message.term:
        self._leader_held = self._matched
        self._commit_by_itself(sender)


def _settle_by_place(self: Proposals, batch_id: bytes, outcomes: Any) -> Any:
    """The first batch that waits gets the answer, as with the library's request numbers."""
    if self._sealed:
        batch_id = next(iter(self._sealed))
    return _settle(self, batch_id, outcomes)


def _no_tombstone(
    self: Table, key: bytes, revision: int, op: Any, old: Any, unit: Any, told: str
) -> Any:
    if old is not None and old.unit is None:
        old = None
    return _write(self, key, revision, op, old, unit, told)


def _never_seen(self: History, client_id: int, sequence: int) -> None:
    return None


def _no_step_down(self: Elections, term: int) -> bool:
    later: bool = term > self._adaptor.term
    return later


def _early_effects(self: group.Replica, now: float, **options: Any) -> group.Ready:
    ready = _step(self, now, **options)
    return ready._replace(write=None)


_on_append = Follower.on_append
_on_part = SnapshotReceiver.on_part
_on_request_vote = Elections.on_request_vote
_take_write = Journal.take_write
_settle = Proposals.settle
_step = group.Replica.step
_chunk_staged = SnapshotReceiver.chunk_staged
_write = Table._write

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
        first_seed=12,
    ),
    "commit up to the own last index": Mutant(
        "a commit index covers only what has been matched with the leader",
        lambda: [(Follower, "on_append", _commit_to_own_end), _SHORT_APPENDS],
        10,
        first_seed=100,
        fixed={"nodes": 5},
    ),
    "commit with the chunks of a snapshot": Mutant(
        "a snapshot chunk carries no commit index",
        lambda: [(SnapshotReceiver, "on_part", _commit_with_chunks)],
        3,
        first_seed=10,
    ),
    "install any snapshot": Mutant(
        "a snapshot that ends at or below what is committed is not installed",
        lambda: [
            (SnapshotReceiver, "_is_needed", lambda *_: True),
            (Adaptor, "install", _install_backwards),
        ],
        2,
    ),
    "vote twice": Mutant(
        "one vote per voter per term",
        lambda: [(Elections, "on_request_vote", _vote_twice)],
        100,
        fixed={"nodes": 5},
    ),
    "term and vote not persisted": Mutant(
        "persist, then send: the term",
        lambda: [(Journal, "take_write", _forget_term)],
        20,
        first_seed=120,
    ),
    "nothing persisted": Mutant(
        "persist, then send: entries",
        lambda: [(group.Replica, "step", _early_effects)],
        4,
    ),
    "follower-side commit with five voters": Mutant(
        "with five voters two holders are no majority",
        lambda: [(follower, "follower_commit", _commit_by_itself_anywhere)],
        100,
        fixed={"nodes": 5},
    ),
    "an append taken for held": Mutant(
        "an entry may leave the leader before it is durable there; the leader counts only then",
        lambda: [(Follower, "on_append", _take_an_append_for_held)],
        20,
        fixed={"nodes": 3, "sync_s": 0.05},
    ),
    "outcome by place": Mutant(
        "an outcome belongs to the batch id found in the applied entry",
        lambda: [(Proposals, "settle", _settle_by_place)],
        2,
    ),
    "no tombstone": Mutant(
        "a version is never used again",
        lambda: [(Table, "_write", _no_tombstone)],
        2,
    ),
    "no memory of ops": Mutant(
        "a retried op takes effect once",
        lambda: [(History, "find", _never_seen)],
        2,
    ),
    "no step down before a higher term": Mutant(
        "a leader that hears a higher term steps down",
        lambda: [(Elections, "heed_term", _no_step_down)],
        10,
        first_seed=185,
    ),
}
