"""Who the other members are, as one replica's log has it now: looked up by all parts of the guard.

Invariant: it changes only when the latest configuration in the log does, by the guard's hand, so
that between two changes nobody need look into the log. A replica without members is joining: it
knows of nobody, and hears whoever leads.
"""

from globaltable.members import Members
from globaltable.raft.quorum import majority


class Membership:
    """Of the replica on `node`."""

    __slots__ = (
        "fellows",
        "is_member",
        "is_voter",
        "majority",
        "members",
        "node",
        "peers",
        "voter_count",
    )

    def __init__(self, node: str, members: Members | None) -> None:
        self.node = node
        self.change(members)

    def change(self, members: Members | None) -> None:
        self.members = members
        voters = members.voters if members is not None else ()
        self.voter_count = len(voters)
        self.majority = majority(len(voters))
        self.is_voter = self.node in voters
        self.is_member = members is not None and self.node in members
        self.fellows = [name for name in voters if name != self.node]
        """The other voters."""
        learners = members.learners if members is not None else ()
        self.peers = [*self.fellows, *(name for name in learners if name != self.node)]
        """The other members."""
