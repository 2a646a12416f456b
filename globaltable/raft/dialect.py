"""PySyncObj's own messages, which are dicts, and what they are among `messages`.

The only file that knows their keys. The library says less than Raft needs: not why it campaigns,
nor to which attempt an append belongs. That is False or 0 here, and filled in by whom it concerns.

Invariant: what the library is told says no more than the message did: a `Heartbeat` carries no
commit index, for nothing was matched.
"""

from typing import Any

from globaltable.raft.journal import InvariantViolated
from globaltable.raft.messages import Ack, Append, Heartbeat, RequestVote, TimeoutNow, Vote

Said = Append | Heartbeat | RequestVote | Vote | TimeoutNow
Told = Append | Heartbeat | Ack | RequestVote | Vote | TimeoutNow


def from_library(message: dict[str, Any]) -> Said | None:
    """None for the library's acknowledgements: `follower` makes those that are sent."""
    match message["type"]:
        case "append_entries" if "prevLogIdx" not in message:
            return Heartbeat(message["term"])
        case "append_entries":
            assert "transmission" not in message, "an entry larger than an append message"
            return Append(
                message["term"],
                0,
                message["prevLogIdx"],
                message["prevLogTerm"],
                message["commit_index"],
                0,
                tuple(message["entries"]),
            )
        case "next_node_idx":
            return None
        case "request_vote":
            last_index, last_term = message["last_log_index"], message["last_log_term"]
            return RequestVote(message["term"], last_index, last_term, False)
        case "response_vote":
            return Vote(message["term"], True)
        case "timeout_now":
            return TimeoutNow(message["term"])
        case kind:
            raise InvariantViolated(f"the library sends {kind!r}, which is not part of its dialect")


def to_library(message: Told) -> dict[str, Any]:
    match message:
        case Append():
            return {
                "type": "append_entries",
                "term": message.term,
                "commit_index": message.commit_index,
                "entries": message.entries,
                "prevLogIdx": message.prev_index,
                "prevLogTerm": message.prev_term,
            }
        case Ack():
            return {
                "type": "next_node_idx",
                "next_node_idx": message.next_index,
                "reset": message.reset,
                "success": message.success,
            }
        case Heartbeat(term):
            return {"type": "append_entries", "term": term, "commit_index": 0, "serialized": None}
        case RequestVote():
            return {
                "type": "request_vote",
                "term": message.term,
                "last_log_index": message.last_index,
                "last_log_term": message.last_term,
            }
        case Vote(term, granted):
            assert granted, "the library knows no refusal"
            return {"type": "response_vote", "term": term}
        case TimeoutNow(term):
            return {"type": "timeout_now", "term": term}
