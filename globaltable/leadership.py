"""When a replica that leads gives leadership up, and to whom.

Responsible for the reasons to hand over (another replica is preferred, this one's disk is far
behind, it is to be no member any more) and for carrying a hand-over through. Who may be elected is
not decided here, but by `raft.elections`.

Invariants: a hand-over that has begun is not turned to another successor, and ends with its
success or after an election's time. Leadership is not given by preference to one that would prefer
another, or the two might hand it to and fro for ever.
"""

from collections.abc import Collection
from typing import Final

from globaltable.convergence import Convergence
from globaltable.raft.adaptor import Role, Timing
from globaltable.raft.guard import Guard

_SETTLE_S: Final = 1.0
"""How long a leader watches its preferred successor keep up before it hands over."""


class Leadership:
    """Of one replica. It is stepped with the replica, and does nothing while it does not lead."""

    def __init__(
        self,
        guard: Guard,
        convergence: Convergence,
        node: str,
        preferred: str | None,
        timing: Timing,
    ) -> None:
        self._guard = guard
        self._convergence = convergence
        self._node = node
        self.preferred = preferred
        """Who should lead, if it has a vote."""
        self._timeout_s = timing.election_min_s
        self._handing_over: tuple[str, float] | None = None
        self._successor_ready_since: float | None = None
        self._without_room_since: float | None = None
        self._otherwise_minded: set[str] = set()
        """Peers that would have other nodes lead than this one would."""

    @property
    def is_ending(self) -> bool:
        """It is being handed over: nothing new may be proposed."""
        return self._handing_over is not None

    def note_plan(self, peer: str, same_plan: bool) -> None:
        """A peer would have the same nodes lead as this one, or others."""
        if same_plan:
            self._otherwise_minded.discard(peer)
        else:
            self._otherwise_minded.add(peer)

    def hand_over(self, now: float, target: str | None = None) -> None:
        """Begin to give up leadership to `target`, or to whoever holds most of the log."""
        if not self._leads or self._handing_over is not None:
            return
        fellows = self._guard.fellows
        if target is None:
            target = self._fullest(fellows)
        if target is not None and target in fellows:
            self._handing_over = (target, now + self._timeout_s)

    def _fullest(self, fellows: Collection[str]) -> str | None:
        connected = [peer for peer in fellows if self._guard.is_connected(peer)]
        return max(connected, key=lambda peer: (self._guard.match_index(peer), peer), default=None)

    def step(self, now: float, *, by_preference: bool) -> None:
        """Begin a hand-over if there is a reason, and go on with one that has begun."""
        if by_preference:
            self._return_to_preferred(now)
        self._lead_with_room_only(now)
        self._converge(now)
        self._continue(now)

    @property
    def _leads(self) -> bool:
        return self._guard.role is Role.LEADER

    def _return_to_preferred(self, now: float) -> None:
        """Leadership returns to the preferred replica once it has kept up for a while."""
        preferred = self.preferred
        if not self._leads or preferred == self._node or self._handing_over is not None:
            self._successor_ready_since = None
            return
        if preferred is None or preferred not in self._guard.fellows:
            self._successor_ready_since = None
            return
        well = preferred not in self._otherwise_minded and self._convergence.keeps_up(preferred)
        if not well:
            self._successor_ready_since = None
        elif self._successor_ready_since is None:
            self._successor_ready_since = now
        elif now - self._successor_ready_since >= _SETTLE_S:
            self._successor_ready_since = None
            self.hand_over(now, preferred)

    def _lead_with_room_only(self, now: float) -> None:
        """A leader whose own disk is far behind would hold up all others. If theirs are as well,
        none of them holds everything for long, and so nothing is handed over to and fro."""
        if not self._leads or self._guard.has_room:
            self._without_room_since = None
        elif self._without_room_since is None:
            self._without_room_since = now
        elif now - self._without_room_since >= _SETTLE_S:
            self.hand_over(now)

    def _converge(self, now: float) -> None:
        """Bring the members nearer to what is wanted; who is to go hands over before."""
        if self._convergence.wanted is None or self._handing_over is not None:
            return
        successor = self._convergence.proceed(now)
        if successor is not None:
            self.hand_over(now, successor)

    def _continue(self, now: float) -> None:
        """Propose nothing until the successor holds everything, then ask it to campaign."""
        if self._handing_over is None:
            return
        target, deadline = self._handing_over
        if not self._leads or now >= deadline:
            self._handing_over = None
        else:
            self._guard.hand_over(target)
