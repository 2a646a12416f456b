"""How the leader of a group brings its members to what is wanted, one step at a time.

Responsible for when the next step may be taken; `members.next_step` says which it is, and the guard
refuses what Raft rules out. Nothing is remembered of a change that is under way but how long its
learners have kept up: whoever leads next goes on from what its log says.

Invariants: no step before the last one is committed, nor before an entry of this leader's own term
is; no learner is given the vote before it has kept up for a while and has said that it would make
use of it (`recovery`: one that could not yet vote would be missing in the next election); no voter
comes or goes unless a majority of those after it is up.
"""

from typing import Final

from globaltable.members import Members, Standing, leader_must_go, next_step
from globaltable.raft.adaptor import Role, Timing
from globaltable.raft.guard import Guard

BEHIND_MAX: Final = 64
"""Entries behind what is committed, within which a member keeps up."""


class Convergence:
    """Of one replica's group, while it leads."""

    def __init__(self, guard: Guard, node: str, timing: Timing) -> None:
        self._guard = guard
        self._node = node
        self._settle_s = timing.election_max_s
        self.wanted: Members | None = None
        """None: whatever they are."""
        self._led_term = 0
        self._kept_up_since: dict[str, float] = {}

    @property
    def is_done(self) -> bool:
        """The members are as wanted, and that is committed."""
        guard = self._guard
        return self.wanted is None or (guard.members == self.wanted and guard.members_committed)

    def keeps_up(self, member: str) -> bool:
        """Of one that has not answered, or is being rebuilt, nothing is known to be held."""
        if member == self._node:
            return True
        held = self._guard.match_index(member)
        behind = self._guard.commit_index - held
        return self._guard.is_connected(member) and held > 0 and behind <= BEHIND_MAX

    def proceed(self, now: float) -> str | None:
        """Take the next step, if one may be taken; or the name of whom to hand over to."""
        guard, wanted = self._guard, self.wanted
        present = guard.members
        if wanted is None or guard.role is not Role.LEADER or present is None:
            return None
        if present is wanted or present == wanted:
            self._kept_up_since.clear()
            return None
        self._begin_term(present)
        if not (guard.may_change_members and guard.can_append):
            return None
        up = [name for name in present.names if self.keeps_up(name)]
        ready = [name for name in present.learners if self._is_ready(name, up, now)]
        standing = Standing(self._node, up, ready)
        step = next_step(present, wanted, standing)
        if step is not None:
            guard.change_members(step)
            return None
        if leader_must_go(present, wanted, self._node):
            return self._successor(wanted, up)
        return None

    def _begin_term(self, present: Members) -> None:
        """What was seen as the leader of another term is void, and of who is no learner."""
        if self._led_term != self._guard.term:
            self._led_term = self._guard.term
            self._kept_up_since.clear()
            self._guard.forget_examined()
        for name in [name for name in self._kept_up_since if name not in present.learners]:
            del self._kept_up_since[name]

    def _is_ready(self, learner: str, up: list[str], now: float) -> bool:
        wanted = self.wanted
        if wanted is None or learner not in wanted.voters:
            return False
        if learner not in up:
            self._kept_up_since.pop(learner, None)
            return False
        since = self._kept_up_since.setdefault(learner, now)
        return now - since >= self._settle_s and self._guard.is_examined(learner)

    def _successor(self, wanted: Members, up: list[str]) -> str | None:
        """Who holds most, of those that are to stay."""
        staying = [n for n in wanted.voters if n in up and n != self._node]
        return max(staying, key=lambda n: (self._guard.match_index(n), n), default=None)
