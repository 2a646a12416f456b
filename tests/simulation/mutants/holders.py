"""Mutants of the follower's own commit: whom it counts as a holder, of what, and on whose word.

One rule has no mutant: what a follower that is rebuilt told in its old life may be counted or not.
`globaltable.raft.recovery` argues why; it is forgotten because nothing need rest on that argument.
"""

from collections.abc import Iterable
from typing import Any, Final

from globaltable.group import Ready, Replica
from globaltable.raft import follower, quorum
from globaltable.raft.adaptor import Role
from globaltable.raft.elections import Elections
from globaltable.raft.follower import Follower
from globaltable.raft.messages import Append, Matched
from tests.simulation.mutants.mutant import Mutant


def _five_counted_as_three(voters: int, matched: int, held_by_others: Iterable[int]) -> int:
    """With five voters, one holder too few."""
    return quorum.follower_commit(3, matched, held_by_others)


def _commit_any_term(self: Follower) -> None:
    """What a majority holds is taken for committed, of whatever term it is."""
    adaptor, journal = self._adaptor, self._journal
    index = quorum.follower_commit(self._voters, self._matched, self._held.values())
    if index > adaptor.commit_index:
        last_index, last_term = journal.last_index, journal.last_term
        told = Append(self._term, 0, last_index, last_term, index, 0, ())
        adaptor.deliver(self._leader, told)


def _take_an_append_for_held(self: Follower, sender: str, message: Append) -> None:
    """As if the leader persisted before it sent."""
    _on_append(self, sender, message)
    if self._term == message.term:
        self._note_held(sender, self._matched)
        self._commit_by_itself()


def _believe_any_term(self: Elections, term: int) -> bool:
    self.heed_term(term)
    return self._adaptor.role is not Role.LEADER


def _keep_what_others_held(self: Follower, term: int) -> None:
    if term > self._term:
        self._term = term
        self._matched = self._told_committed = 0
        self._told.clear()


def _tell_others_before_the_sync(self: Replica, now: float, **options: Any) -> Ready:
    ready = _step(self, now, **options)
    words = [told for told in ready.messages if isinstance(told[1], Matched)]
    rest = [told for told in ready.messages if not isinstance(told[1], Matched)]
    return ready._replace(at_once=[*ready.at_once, *words], messages=rest)


_on_append = Follower.on_append
_step = Replica.step

MUTANTS: Final[dict[str, Mutant]] = {
    "five voters counted as three": Mutant(
        "with five voters two holders are no majority",
        lambda: [(follower, "follower_commit", _five_counted_as_three)],
        2,
        first_seed=40,
        fixed={"nodes": 5},
    ),
    "an earlier term's entry committed by counting": Mutant(
        "a follower commits by itself only if the entry there is of the present term",
        lambda: [(Follower, "_commit_by_itself", _commit_any_term)],
        2,
        first_seed=0,
        fixed={"nodes": 5},
    ),
    "an append taken for held": Mutant(
        "an entry may leave the leader before it is durable there; the leader counts only then",
        lambda: [(Follower, "on_append", _take_an_append_for_held)],
        2,
        first_seed=15,
        fixed={"nodes": 3, "sync_s": 0.05},
    ),
    "an append taken for held, with five voters": Mutant(
        "the leader is a holder like any other: only by its own word",
        lambda: [(Follower, "on_append", _take_an_append_for_held)],
        2,
        first_seed=0,
        fixed={"nodes": 5, "sync_s": 0.05},
    ),
    "what was held in another term": Mutant(
        "a follower's word counts only in the term in which it was given",
        lambda: [
            (Elections, "heed_fellow", _believe_any_term),
            (Follower, "_heed", _keep_what_others_held),
        ],
        2,
        first_seed=0,
        fixed={"nodes": 5},
    ),
    "others told before the sync": Mutant(
        "persist, then send: what a follower tells the others to hold",
        lambda: [(Replica, "step", _tell_others_before_the_sync)],
        2,
        first_seed=0,
        fixed={"nodes": 5, "sync_s": 0.02},
    ),
}
