"""What the replicas of a group say to each other: plain values.

Every message carries its sender's term (Raft §5.1), but for those of the pre-vote, whose `term` is
the one the candidate would campaign in (Raft thesis §9.6), and `Propose` and `Recover`, which are
not Raft's.
"""

from collections.abc import Callable
from typing import NamedTuple

from globaltable.store.log import Entry
from globaltable.table_state import TableState


class PreVote(NamedTuple):
    """Would you vote for me in `term`? Nobody's term rises by asking."""

    term: int
    last_index: int
    last_term: int


class PreVoteReply(NamedTuple):
    """`term` echoes the question if granted; otherwise it is the term of who refuses."""

    term: int
    granted: bool


class RequestVote(NamedTuple):
    """`transfer`: the leader itself asked for this election, so a live leader is no objection."""

    term: int
    last_index: int
    last_term: int
    transfer: bool


class Vote(NamedTuple):
    term: int
    granted: bool


class Append(NamedTuple):
    """Entries behind (prev_index, prev_term); a heartbeat if there are none.

    `round` numbers the leader's attempts to find where the follower's log agrees: a rejection is
    heeded only if it answers the present attempt, not one that has been corrected since. `held` is
    as in `Held`: the entries themselves may be sent before they are durable at the leader.
    """

    term: int
    round: int
    prev_index: int
    prev_term: int
    commit_index: int
    held: int
    entries: tuple[Entry, ...]


class Heartbeat(NamedTuple):
    """The leader lives, but has no entries this follower could use: it needs a snapshot."""

    term: int


class Ack(NamedTuple):
    """`success`: everything below `next_index` is durable here and agrees with the leader.
    `reset`: send from `next_index` on. Neither: the sender is alive."""

    term: int
    round: int
    next_index: int
    success: bool
    reset: bool


class JoinerAck(NamedTuple):
    """A successful `Ack` of one that joins. It counts for nothing but how far it has come: a leader
    that has it for a voter says `Ask` instead of counting it (`recovery`)."""

    term: int
    round: int
    next_index: int


class Ask(NamedTuple):
    """A leader to one that joins: you have a vote here, so you have lost a log that others may
    count on. Ask them."""

    term: int


class Held(NamedTuple):
    """The leader's own log is durable through this entry, so that it counts as a holder."""

    term: int
    through: int


class Matched(NamedTuple):
    """A follower's word to the others, where there are more than three voters: its log is durable
    through this entry, and agrees so far with the leader of `term`."""

    term: int
    through: int


class TimeoutNow(NamedTuple):
    """Campaign at once: the leader hands over (Raft thesis §3.10)."""

    term: int


class SnapshotPart(NamedTuple):
    """Chunk `number` of the snapshot `transfer`, which ends at `state.applied`."""

    term: int
    transfer: int
    number: int
    state: TableState
    payload: bytes
    last: bool


class SnapshotAck(NamedTuple):
    """Chunks below `wanted` of the transfer are kept; -1: give it up."""

    term: int
    transfer: int
    wanted: int


class Propose(NamedTuple):
    """A batch for the leader to append, in the encoding of the log."""

    payload: bytes


class Recover(NamedTuple):
    """I have lost what I had persisted: what is your term? `nonce` is of this life of mine."""

    nonce: int


class RecoverReply(NamedTuple):
    """`term` is durable at the sender; `nonce` is the question's. `members` are all that the
    sender's committed configuration names, and those that follow it in its log."""

    nonce: int
    term: int
    members: tuple[str, ...] = ()


class Examine(NamedTuple):
    """A leader to a learner that it would give the vote: would you make use of it?"""

    term: int
    nonce: int


class Whole(NamedTuple):
    """I hold all that I may have promised to hold, and would vote. `nonce` is the question's."""

    term: int
    nonce: int


class Removed(NamedTuple):
    """The configuration as of `index`, which is committed, does not name you."""

    term: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


Message = (
    PreVote
    | PreVoteReply
    | RequestVote
    | Vote
    | Append
    | Heartbeat
    | Ack
    | JoinerAck
    | Ask
    | Held
    | Matched
    | TimeoutNow
    | SnapshotPart
    | SnapshotAck
    | Propose
    | Recover
    | RecoverReply
    | Examine
    | Whole
    | Removed
)

Send = Callable[[str, Message], None]
"""Takes the receiver's name; the message leaves once this turn is durable."""
