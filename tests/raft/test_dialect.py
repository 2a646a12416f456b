"""The library's dicts, translated: nothing is lost on the way, and nothing passes unknown."""

import pytest

from globaltable.raft.dialect import Said, from_library, to_library
from globaltable.raft.journal import InvariantViolated
from globaltable.raft.messages import Append, Heartbeat, RequestVote, TimeoutNow, Vote
from tests.raft.rig import entries


@pytest.mark.parametrize(
    "message",
    [
        Append(3, 0, 2, 1, 2, 0, entries(2, 3, after=2)),
        Append(3, 0, 2, 1, 2, 0, ()),
        Heartbeat(3),
        RequestVote(3, 2, 1, False),
        Vote(3, True),
        TimeoutNow(3),
    ],
)
def test_what_the_library_is_told_it_could_have_said(message: Said) -> None:
    assert from_library(to_library(message)) == message


def test_a_heartbeat_carries_no_commit_index() -> None:
    assert to_library(Heartbeat(3))["commit_index"] == 0


def test_an_acknowledgement_of_the_library_goes_nowhere() -> None:
    said = {"type": "next_node_idx", "next_node_idx": 9, "reset": False, "success": True}
    assert from_library(said) is None


def test_an_unknown_message_is_fatal() -> None:
    with pytest.raises(InvariantViolated, match="apply_command"):
        from_library({"type": "apply_command"})
