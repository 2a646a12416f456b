"""Who a group's replicas are: voters, and learners, which hold everything and have no vote.

A group's members are a configuration in its own log (Raft thesis §4.1): in force on a replica as
soon as it stands in its log, and changed one step at a time. Here are the value, its checks, and
which step leads nearer to what is wanted; who may take it, and when, is `convergence`'s say.

Invariants: between two configurations that follow each other the voters differ by at most one, so
that any majority of the one shares a voter with any majority of the other; who is given the vote
was a learner before. Every step towards what is wanted is chosen from where the members stand, and
from nothing else: whoever leads next goes on, and what is wanted may change amid it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from globaltable.errors import ConfigError

MEMBERS_MAX: Final = 32
NAME_BYTES_MAX: Final = 255


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The members of one group, by node name. Equal to another with the same names in any order."""

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.names
        if not self.voters:
            raise ConfigError("a group has no voters: nothing could ever be committed; name some")
        if len(set(names)) != len(names):
            raise ConfigError(f"a node is named twice among voters and learners: {names}")
        if len(names) > MEMBERS_MAX:
            raise ConfigError(f"{len(names)} members; a group has at most {MEMBERS_MAX}")
        for name in names:
            if not name or len(name.encode()) > NAME_BYTES_MAX:
                raise ConfigError(f"{name[:64]!r} is no node's name")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Members):
            return NotImplemented
        return self is other or (
            set(self.voters) == set(other.voters) and set(self.learners) == set(other.learners)
        )

    def __hash__(self) -> int:
        return hash((frozenset(self.voters), frozenset(self.learners)))

    def __contains__(self, name: object) -> bool:
        return name in self.voters or name in self.learners

    def __str__(self) -> str:
        learners = f" and learners {', '.join(self.learners)}" if self.learners else ""
        return ", ".join(self.voters) + learners

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.voters, *self.learners)

    # --- single steps ----------------------------------------------------------------------------

    def with_learners(self, names: Iterable[str]) -> "Members":
        return Members(self.voters, (*self.learners, *names))

    def promoted(self, learner: str) -> "Members":
        """With the vote given to a learner."""
        return Members((*self.voters, learner), _without(self.learners, learner))

    def demoted(self, voter: str) -> "Members":
        """With a voter's vote taken: it is a learner."""
        return Members(_without(self.voters, voter), (*self.learners, voter))

    def without(self, name: str) -> "Members":
        return Members(_without(self.voters, name), _without(self.learners, name))

    def why_not(self, after: "Members") -> str:
        """Why no single step leads from here to `after`; empty if one does.

        Learners count nowhere, so any number of them may come and go in a step.
        """
        gained = set(after.voters) - set(self.voters)
        lost = set(self.voters) - set(after.voters)
        if len(gained) + len(lost) > 1:
            return f"voters differ by {', '.join(sorted(gained | lost))}; one may change at a time"
        if not gained <= set(self.learners):
            return f"{', '.join(gained)} would have a vote without having been a learner"
        return ""


def _without(names: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a leader knows of its members, as it picks a step."""

    leader: str
    up: Collection[str]
    """Members that answer and keep up with it, itself included."""
    ready: Collection[str]
    """Learners that may be given the vote: they have kept up for a while, and are whole."""

    def has_majority(self, members: Members) -> bool:
        return 2 * len(set(members.voters) & set(self.up)) > len(members.voters)


def next_step(present: Members, wanted: Members, standing: Standing) -> Members | None:
    """The single step from `present` that leads nearer to `wanted`; None if none may be taken now.

    To replace is to add a learner, to give it the vote, and then to remove: so a group never has
    fewer voters than the fewer of what it has and what it is to have, and one that is away does not
    hinder its own replacement. Voters change only if a majority of those after the step is up, so
    that the step can be committed. The leader itself goes last, and not by its own hand: see
    `leader_must_go`.
    """
    missing = [name for name in wanted.names if name not in present]
    if missing:
        return present.with_learners(missing)
    for step in _changes_of_voters(present, wanted, standing):
        if standing.has_majority(step):
            return step
    unwanted = [name for name in present.learners if name not in wanted]
    if unwanted:
        return Members(present.voters, tuple(n for n in present.learners if n not in unwanted))
    return None


def _changes_of_voters(present: Members, wanted: Members, standing: Standing) -> list[Members]:
    coming = [n for n in wanted.voters if n in present.learners and n in standing.ready]
    promotions = [present.promoted(name) for name in coming]
    going = [n for n in _going(present, wanted) if n != standing.leader]
    going.sort(key=lambda name: name in standing.up)
    removals = [
        present.demoted(name) if name in wanted.learners else present.without(name)
        for name in going
    ]
    if len(present.voters) > len(wanted.voters):
        return removals
    everybody_votes = set(wanted.voters) <= set(present.voters)
    return removals if everybody_votes else promotions


def _going(present: Members, wanted: Members) -> list[str]:
    return [name for name in present.voters if name not in wanted.voters]


def leader_must_go(present: Members, wanted: Members, leader: str) -> bool:
    """Whether the next step is the leader's own removal: it hands over, and its successor takes
    the step."""
    if _going(present, wanted) != [leader]:
        return False
    return set(wanted.voters) <= set(present.voters) or len(present.voters) > len(wanted.voters)
