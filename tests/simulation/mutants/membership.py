"""Mutants of how the members of a group change, under clients and faults, while members change.

One rule has none: that a learner keeps up before it is given the vote is for the group to go on if
the next voter fails; nothing wrong is told without it, only later. Nor has another: that what a
replica holds that joins in the place of a voter counts for nobody. Whom it could mislead is a
leader that was deposed by the lost vote, and such a one gives up before a disk can be lost and its
node be started anew; `tests/raft/test_recovery.py` has it told so by hand.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from globaltable.members import Members
from globaltable.raft import follower, quorum
from globaltable.raft.elections import Elections
from globaltable.raft.guard import Guard
from globaltable.raft.journal import Journal
from globaltable.raft.messages import PreVote, RequestVote
from globaltable.store.log import Entry
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.schedule import NODES, Change, Fault


def _not_one_at_a_time(self: Guard) -> bool:
    return self.journal.term_at(self.commit_index) == self.term


def _without_an_entry_of_its_own_term(self: Guard) -> bool:
    return self.members_committed


def _members_that_are_committed(self: Journal) -> Members | None:
    return self.members_at(self.commit_index)


def _tick_and_take_up_members(self: Guard) -> list[Entry]:
    applicable = _tick(self)
    self._members_may_have_changed()
    return applicable


def _learners_count_themselves(
    voters: int, matched: int, held_by_others: Iterable[int], *, votes: bool = True
) -> int:
    return quorum.follower_commit(voters, matched, held_by_others)


def _as_many_as_founded_it(
    voters: int, matched: int, held_by_others: Iterable[int], *, votes: bool = True
) -> int:
    return quorum.follower_commit(3, matched, held_by_others, votes=votes)


def _a_learners_vote_counts(self: Elections, sender: str) -> bool:
    return sender in self._membership.peers


def _ask_all(self: Elections, term: int) -> None:
    for peer in self._membership.peers:
        self._send(peer, PreVote(term, self._journal.last_index, self._journal.last_term))


def _ask_learners_too(self: Elections, peer: str, message: RequestVote) -> None:
    _on_library_request(self, peer, message)
    learners = [n for n in self._membership.peers if n not in self._membership.fellows]
    if peer == self._membership.fellows[0]:
        for learner in learners:
            _on_library_request(self, learner, message)


def _discard_before_it_is_committed(self: Guard) -> bool:
    return self.members is not None and self.recovery.is_whole and not self._membership.is_member


_tick = Guard.tick
_on_library_request = Elections.on_library_request

_GROWN: Final = {
    "nodes": 3,
    "spares": 2,
    "groups": 1,
    "clients": 4,
    "unruly": False,
    "delay_s": 0.005,
    "sync_s": 0.002,
    "changes": (Change(0.1, ("a", "b", "c", "d", "e"), ()),),
}
"""Three voters are to become five."""


def _cut_off(side: Sequence[str], at: float, seconds: float) -> tuple[Fault, ...]:
    """These on one side, all others on the other."""
    names = NODES[:5]
    rest = [name for name in names if name not in side]
    return tuple(
        Fault(at, "cut both ways", names.index(one), _among_others(one, other), seconds)
        for one in side
        for other in rest
    )


def _among_others(name: str, other: str) -> int:
    return [each for each in NODES[:5] if each != name].index(other)


MUTANTS: Final[dict[str, Mutant]] = {
    "two changes at once": Mutant(
        "members change one at a time: the last change is committed before the next",
        lambda: [(Guard, "may_change_members", property(_not_one_at_a_time))],
        2,
        fixed=_GROWN | {"faults": _cut_off("ade", 0.76, 0.9)},
    ),
    "members in force once committed": Mutant(
        "a configuration is in force as soon as it is in the log",
        lambda: [
            (Journal, "members", property(_members_that_are_committed)),
            (Guard, "tick", _tick_and_take_up_members),
        ],
        1,
        first_seed=18,
        fixed=_GROWN
        | {
            "faults": (
                *_cut_off("ade", 1.06, 0.9),
                Fault(1.065, "crash", 1, 0, 0.05),
                Fault(1.065, "crash", 2, 0, 0.05),
            )
        },
    ),
    "a learner whose vote counts": Mutant(
        "only voters elect",
        lambda: [
            (Elections, "_ask", _ask_all),
            (Elections, "on_library_request", _ask_learners_too),
            (Elections, "counts", _a_learners_vote_counts),
        ],
        2,
        fixed=_GROWN
        | {
            "changes": (Change(0.1, ("a", "b", "c"), ("d", "e")),),
            "faults": _cut_off("ade", 0.35, 1.3),
        },
    ),
    "a learner that counts itself": Mutant(
        "a learner is no part of a majority",
        lambda: [(follower, "follower_commit", _learners_count_themselves)],
        2,
        fixed=_GROWN
        | {
            "changes": (Change(0.1, ("a", "b", "c"), ("d", "e")),),
            "faults": _cut_off("ade", 0.9, 0.9),
        },
    ),
    "counted as when the group was founded": Mutant(
        "a follower counts by the latest configuration that its leader is known to have",
        lambda: [(follower, "follower_commit", _as_many_as_founded_it)],
        2,
        fixed=_GROWN | {"faults": _cut_off("ade", 0.76, 0.9)},
    ),
}
