"""The barrier of a replica that is rebuilt, or joins: once it is applied, the replica is whole.

What was committed until it was made stands before it in the log (`raft.recovery` says why that is
enough). It is proposed until it is applied.

Invariant: a barrier counts for the attempt to become whole in which it was made, and no other.
"""

from globaltable.members import Members
from globaltable.proposals import Proposals, Settled
from globaltable.raft.recovery import Recovery


class _Ticket:
    """Of one such barrier."""


class OwnBarrier:
    """Of one replica, among the batches that it proposes."""

    def __init__(self, recovery: Recovery, proposals: Proposals) -> None:
        self._recovery = recovery
        self._proposals = proposals
        self._present: _Ticket | None = None
        self._attempt = -1

    def submit_if_wanted(self) -> None:
        recovery = self._recovery
        if recovery.wants_barrier and self._attempt != recovery.attempt:
            self._attempt = recovery.attempt
            self._present = _Ticket()
            submitted = self._proposals.submit((), self._present, float("inf"))
            assert submitted, "nobody else has submitted anything"

    def applied(self, settled: Settled, members: Members | None) -> None:
        """One of its barriers was; the members as of then."""
        if settled.ticket is self._present and self._recovery.wants_barrier:
            self._recovery.barrier_applied(members)

    @staticmethod
    def is_one(settled: Settled) -> bool:
        """Nobody outside waits for it."""
        return isinstance(settled.ticket, _Ticket)
