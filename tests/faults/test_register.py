"""What a key's history may be: `register` is the table, and these drawings say what that allows.

The promises: a key and version have exactly one unit; a retried op takes effect once; what was
told not to have happened has not; a linearizable get is no older than its call.
"""

import random

import pytest

from globaltable.model import OpKind, Outcome, OutcomeStatus, qualified_name
from tests.core.test_table import Desk
from tests.faults.brute_force import explainable
from tests.faults.history import Kind
from tests.faults.judge import judge
from tests.faults.notation import read_drawing
from tests.faults.register import Answer, State, apply

LEGAL = {
    "nothing was ever bound": """
        a  [get = none]
        b       [move B 1 = not bound]
    """,
    "one of two that bind at once wins, and both are told": """
        a  [bind A ....... = new A1]
        b     [bind B = A1]
        c                               [bind C = A1]
    """,
    "a session moves by its version and only by it": """
        a  [bind A = new A1]                    [move C 1 = conflict B2]
        b                     [move B 1 = B2]
        c                                       [get ........... = B2]
    """,
    "a version is not used again after an unbind": """
        a  [bind A = new A1]                                   [get = C3]
        b                    [unbind 1 = done]
        c                                      [bind C = new C3]
    """,
    "a read that overlaps a move may see either side of it": """
        a  [bind A = new A1]  [move B 1 .............. = B2]
        b                       [get = A1]
        c                                   [get = B2]
    """,
    "an op of unknown ending never happens": """
        a  [bind A = new A1]  [move B 1 = ?]
        b                                     [get = A1]   [move C 1 = C2]
    """,
    "an op of unknown ending takes effect at once": """
        a  [bind A = new A1]  [move B 1 = ?]
        b                                     [get = B2]
    """,
    "an op of unknown ending takes effect late": """
        a  [bind A = ?]
        b                [get = none]  [get = none]  [get = A1]  [bind B = A1]
    """,
    "one takes effect late, between what others did": """
        a  [bind A = ?]                                     [get = A3]
        b                [bind B = new B1]  [unbind 1 = done]
    """,
    "two of unknown ending fill a gap that nobody saw": """
        a  [bind A = new A1]  [unbind 1 = ?]
        b                       [bind B = ?]
        c                                     [unbind 3 = done]  [bind C = new C5]
    """,
    "of two unknown binds of one unit each takes effect once": """
        a  [bind A = ?]                              [get = A3]
        b  [bind A = ?]  [get = A1]  [unbind 1 = done]
    """,
    "what failed leaves no trace": """
        a  [bind A = failed]              [get = B1]
        b                    [bind B = new B1]
    """,
    "a refused op tells of the key, and changes nothing": """
        a  [bind A = new A1]  [move C 7 = conflict A1]  [unbind 2 = conflict A1]
        b                                                                        [get = A1]
    """,
}

ILLEGAL = {
    "a stale read": """
        a  [bind A = new A1]  [move B 1 = B2]
        b                                     [get = A1]
    """,
    "a read of what was never there": """
        a  [bind A = new A1]
        b                     [get = B1]
    """,
    "a read from the future": """
        a                      [bind A = new A1]
        b  [get = A1]
    """,
    "two readers disagree about the order": """
        a  [bind A = new A1]  [move B 1 ........................... = B2]
        b                       [get = B2]
        c                                    [get = A1]
    """,
    "two win one bind": """
        a  [bind A = new A1]
        b  [bind B = new B1]
    """,
    "two win one bind, the same unit": """
        a  [bind A = new A1]
        b  [bind A = new A1]
    """,
    "a loser is told another winner": """
        a  [bind A = new A1]
        b                     [bind B = C1]
    """,
    "a lost update: two move from one version": """
        a  [bind A = new A1]  [move B 1 = B2]
        b                       [move C 1 = C2]
    """,
    "a lost update: what was acknowledged is gone": """
        a  [bind A = new A1]
        b                     [get = none]
    """,
    "an unbind is undone": """
        a  [bind A = new A1]  [unbind 1 = done]
        b                                       [get = A1]
    """,
    "a version is used again after an unbind": """
        a  [bind A = new A1]  [unbind 1 = done]
        b                                       [bind B = new B1]
    """,
    "a version is passed over": """
        a  [bind A = new A1]
        b                     [move B 1 = B3]
    """,
    "a version is passed over by an unbind": """
        a  [bind A = new A1]  [unbind 1 = done]  [bind B = new B4]
    """,
    "an op of unknown ending takes effect twice": """
        a  [bind A = ?]                               [get = A3]
        b               [get = A1]  [unbind 1 = done]
    """,
    "an op of unknown ending takes effect before it was asked for": """
        a                [bind A = ?]
        b  [get = A1]
    """,
    "an op of unknown ending takes effect and is undone": """
        a  [bind A = new A1]  [move B 1 = ?]
        b                                     [get = B2]  [get = A1]
    """,
    "an op that is said to have failed has happened": """
        a  [bind A = failed]
        b                    [get = A1]
    """,
    "a conflict with the very version that was held": """
        a  [bind A = new A1]  [move B 1 = conflict A1]
    """,
    "a bound key is said not to be bound": """
        a  [bind A = new A1]  [move B 1 = not bound]
    """,
    "a move of what is not bound": """
        a  [bind A = new A1]  [unbind 1 = done]  [move B 2 = B3]
    """,
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_legal(name: str) -> None:
    events = read_drawing(LEGAL[name])
    assert explainable(events), "the drawing is not what its name says"
    judgement = judge(events)
    assert judgement.kept, judgement


@pytest.mark.parametrize("name", ILLEGAL)
def test_what_is_not(name: str) -> None:
    events = read_drawing(ILLEGAL[name])
    assert not explainable(events), "the drawing is not what its name says"
    assert judge(events).violations


def test_the_register_is_the_table() -> None:
    """The same ops, one after the other, at `globaltable.table` itself."""
    rng = random.Random(20)
    changes = 0
    for key in range(60):
        desk, state = Desk(), State()
        name = qualified_name("t", f"k{key}")
        for _ in range(40):
            kind = rng.choice((OpKind.BIND, OpKind.MOVE, OpKind.UNBIND))
            unit = "" if kind is OpKind.UNBIND else rng.choice("ABC")
            version = 0 if kind is OpKind.BIND else max(1, state.version - rng.choice((0, 0, 1)))
            (outcome,) = desk.apply(desk.op(kind, name, unit, version))
            before = state
            state, answer = apply(state, Kind(kind.name.lower()), unit, version)
            assert answer == _as_told(kind, outcome)
            changes += state != before
            binding = desk.table.get(name)
            assert (binding is None) == (state.unit is None)
            assert binding is None or (binding.unit, binding.version) == state
            read, answer = apply(state, Kind.GET, "", 0)
            assert read == state
            assert (answer.unit, answer.version) == (binding[:2] if binding else ("", 0))
    assert changes > 500


def _as_told(kind: OpKind, outcome: Outcome) -> Answer:
    """By the client library: an unbind that was applied tells nothing more."""
    binding = outcome.binding
    if binding is None or (kind is OpKind.UNBIND and outcome.status is OutcomeStatus.APPLIED):
        return Answer(outcome.status)
    return Answer(outcome.status, binding.unit, binding.version)
