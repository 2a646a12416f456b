"""Mutants of the follower's own commit: whom it counts as a holder, of what, and on whose word.

Two rules have no mutant. What a follower that is rebuilt told in its old life may be counted or
not (`globaltable.raft.recovery` argues why); it is forgotten as nothing need rest on that argument.
That the entry is of the present term (Raft §5.4.2) matters where a majority holds the old entries
and not yet the new leader's first: no schedule tried gets there, and `tests/raft` checks it.
"""

from collections.abc import Iterable
from typing import Any, Final

from globaltable.group import Ready, Replica
from globaltable.raft import follower, quorum
from globaltable.raft.adaptor import Role
from globaltable.raft.elections import Elections
from globaltable.raft.follower import Follower
from globaltable.raft.messages import Append, Held, Matched
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.schedule import Fault


def _five_counted_as_three(voters: int, matched: int, held_by_others: Iterable[int]) -> int:
    """With five voters, one holder too few."""
    return quorum.follower_commit(3, matched, held_by_others)


def _take_an_append_for_held(self: Follower, sender: str, message: Append) -> None:
    """As if the leader persisted before it sent."""
    _on_append(self, sender, message)
    if self._term == message.term:
        self._note_held(sender, self._matched)
        self._commit_by_itself()


def _believe_any_term(self: Elections, term: int) -> bool:
    self.heed_term(term)
    return self._adaptor.role is not Role.LEADER


def _count_a_word_of_any_term(self: Follower, sender: str, message: Held | Matched) -> None:
    if message.term >= self._adaptor.term:
        _on_word(self, sender, message)
        return
    self._note_held(sender, message.through)
    if self._term == self._adaptor.term and not self._snapshots.installing:
        self._commit_by_itself()


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
_on_word = Follower._on_word
_step = Replica.step

_QUIET: Final = {"nodes": 5, "groups": 1, "clients": 4, "unruly": False, "delay_s": 0.005}
"""Where nothing goes wrong but what the faults say."""


def _among_others(node: int, other: int) -> int:
    """As which of a node's others a fault names it, with five nodes."""
    return [number for number in range(5) if number != node].index(other)


_HOLDERS_LOST: Final = (
    *(Fault(0.4, "crash before the write", node, 0, 0.05) for node in (1, 2, 3)),
    Fault(0.47, "split", 0, _among_others(0, 4), 1.1),
)
"""Three followers lose what they were about to sync, and who holds it cannot be reached."""

_LEADER_LOST: Final = (
    *(Fault(0.39, "cut both ways", 0, _among_others(0, node), 0.4) for node in (1, 2)),
    Fault(0.4, "crash before the write", 0, 0, 0.05),
    Fault(0.6, "split", 3, _among_others(3, 4), 1.0),
)
"""A leader loses what it was about to sync, and the two to which it went cannot be reached."""

_WORD_OUTLIVES_ITS_TERM: Final = (
    *(Fault(0.2, "cut", 0, _among_others(0, node), 1.3) for node in (2, 3, 4)),
    Fault(0.2, "cut both ways", 2, _among_others(2, 4), 1.3),
    Fault(0.2, "slow link", 3, _among_others(3, 4), 1.0),
    *(
        Fault(0.4, "cut both ways", node, _among_others(node, other), 0.45)
        for node in (0, 1)
        for other in (2, 3)
    ),
    Fault(0.86, "split", 2, _among_others(2, 3), 1.0),
)
"""A leader goes on with one follower, which tells the others; these elect another leader, whose
entries stand where those did and reach one of them late; then they that hold them are cut off."""

MUTANTS: Final[dict[str, Mutant]] = {
    "five voters counted as three": Mutant(
        "with five voters two holders are no majority",
        lambda: [(follower, "follower_commit", _five_counted_as_three)],
        2,
        first_seed=40,
        fixed={"nodes": 5},
    ),
    "an append taken for held": Mutant(
        "an entry may leave the leader before it is durable there; the leader counts only then",
        lambda: [(Follower, "on_append", _take_an_append_for_held)],
        1,
        first_seed=2,
        fixed={"nodes": 3, "sync_s": 0.05},
    ),
    "an append taken for held, with five voters": Mutant(
        "the leader is a holder like any other: only by its own word",
        lambda: [(Follower, "on_append", _take_an_append_for_held)],
        1,
        fixed=_QUIET | {"sync_s": 0.02, "faults": _LEADER_LOST},
    ),
    "what was held in another term": Mutant(
        "a follower's word counts only in the term in which it was given",
        lambda: [
            (Elections, "heed_fellow", _believe_any_term),
            (Follower, "_heed", _keep_what_others_held),
            (Follower, "_on_word", _count_a_word_of_any_term),
        ],
        2,
        first_seed=1,
        fixed=_QUIET | {"clients": 12, "sync_s": 0.002, "faults": _WORD_OUTLIVES_ITS_TERM},
    ),
    "others told before the sync": Mutant(
        "persist, then send: what a follower tells the others to hold",
        lambda: [(Replica, "step", _tell_others_before_the_sync)],
        1,
        first_seed=3,
        fixed=_QUIET | {"sync_s": 0.02, "faults": _HOLDERS_LOST},
    ),
}
