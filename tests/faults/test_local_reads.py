"""What is promised of a local read: it may be behind, but tells what has been.

And, for one client and one life of its node, it does not go backward.
"""

import pytest

from tests.faults.brute_force import explainable
from tests.faults.judge import Promise, judge
from tests.faults.notation import read_drawing

MOVED = """
        a  [bind A = new A1]  [move B 1 = B2]  [unbind 2 = done]  [bind C = new C4]
"""
LEGAL = {
    "however far behind": """
        b                                                                 [local = A1]
    """,
    "of a key that was bound long ago": """
        b                                                                 [local = none]
    """,
    "different nodes, different pasts": """
        b                                                                 [local = C4]
        c                                                                      [local = A1]
    """,
    "ever on": """
        b     [local = none]  [local = A1]  [local = A1]  [local = none]  [local = C4]
    """,
}
NEVER_HAD = {
    "a unit that was never there": """
        b                                                                 [local = D1]
    """,
    "a version that was never there": """
        b                                                                 [local = C5]
    """,
    "a tombstone's version": """
        b                                                                 [local = B3]
    """,
    "what was only bound later": """
        b                                           [local = C4]
    """,
}
BACKWARD = {
    "to an older version": """
        b                             [local = B2]  [local = A1]
    """,
    "past two changes": """
        b                             [local = B2]                   [local = C4]  [local = B2]
    """,
    "to before an unbind": """
        b                             [local = B2]  [local = none]  [local = B2]
    """,
}


@pytest.mark.parametrize("name", LEGAL)
def test_a_read_may_be_behind(name: str) -> None:
    events = read_drawing(MOVED + LEGAL[name])
    assert explainable(events)
    judgement = judge(events)
    assert judgement.kept, judgement


@pytest.mark.parametrize("name", NEVER_HAD)
def test_a_read_tells_nothing_that_has_not_been(name: str) -> None:
    events = read_drawing(MOVED + NEVER_HAD[name])
    assert not explainable(events)
    assert Promise.HAS_BEEN in {v.promise for v in judge(events).violations}


@pytest.mark.parametrize("name", BACKWARD)
def test_reads_of_one_client_do_not_go_backward(name: str) -> None:
    events = read_drawing(MOVED + BACKWARD[name])
    assert {v.promise for v in judge(events).violations} == {Promise.FORWARD}


def test_a_node_that_was_restarted_may_be_behind_itself() -> None:
    """Its table may be older than what it served; nothing in `docs/guarantees.md` says else."""
    lives = iter(("b.0", "b.2"))
    events = [
        event._replace(replica=next(lives)) if event.client == "b" else event
        for event in read_drawing(MOVED + BACKWARD["to an older version"])
    ]
    assert judge(events).kept


def test_a_read_that_roams_is_not_held_against_another() -> None:
    events = [
        event._replace(replica="")
        for event in read_drawing(MOVED + BACKWARD["to an older version"])
    ]
    assert judge(events).kept


def test_a_local_read_sees_what_an_op_of_unknown_ending_did() -> None:
    """And so proves that it happened: what was refused for its sake is explained."""
    seen = """
        a  [bind A = new A1]  [move B 1 = ?]  [move C 1 = conflict B2]
        b                                       [local = B2]
    """
    assert judge(read_drawing(seen)).kept
    unseen = """
        a  [bind A = new A1]  [move B 1 = ?]  [get = A1]
        b                    [local = B2]
    """
    (violation,) = judge(read_drawing(unseen)).violations
    assert violation.promise is Promise.HAS_BEEN
