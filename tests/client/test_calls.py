"""What is under way to a node: how much at a time, for how long, and whose an answer is."""

import math

import pytest

from globaltable.client._calls import Call, Calls
from globaltable.client._lanes import AnyTicket, ReadLane, Ticket, WriteLane, WriteOp
from globaltable.client._lanes import WriteOutcome as Outcome
from globaltable.client._lanes import WritePart as Part
from globaltable.client._settings import GRACE_S
from globaltable.client._spacing import SPACING_S, UNDER_WAY_MAX
from globaltable.model import Binding, OpKind
from globaltable.v1 import globaltable_pb2 as pb

READS = ReadLane("t", linearizable=False)
WRITES = WriteLane("t", 7)
NODE, OTHER = 0, 1
BOUND = Outcome(pb.OUTCOME_STATUS_APPLIED, "A", 1, 5, "")


@pytest.fixture
def calls() -> Calls:
    return Calls()


def _binds(*keys: str) -> list[AnyTicket]:
    ops = [WriteOp(OpKind.BIND, key, "A", 0, number) for number, key in enumerate(keys)]
    return [Ticket(WRITES, op, 1.0) for op in ops]


def _write(calls: Calls, *keys: str, now: float = 0.0) -> tuple[Call, list[AnyTicket]]:
    tickets = _binds(*keys)
    return calls.begin(WRITES, NODE, tickets, 1.0, now), tickets


def _part(call: Call, *positions: int) -> Part:
    assert call.number is not None
    return Part(call.number, positions, [BOUND] * len(positions), 0.0)


def test_a_node_has_room_for_so_many_calls_of_a_lane(calls: Calls) -> None:
    begun = []
    for _ in range(READS.calls_max):
        assert calls.free_at(READS, NODE, 0.0) == -math.inf
        begun.append(calls.begin(READS, NODE, [Ticket(READS, ["k"], 1.0)], 1.0, 0.0))
    assert calls.free_at(READS, NODE, 0.0) == math.inf
    assert calls.free_at(READS, OTHER, 0.0) == calls.free_at(WRITES, NODE, 0.0) == -math.inf
    (ticket,) = calls.landed(begun[3])
    assert ticket.calls == 0
    assert calls.free_at(READS, NODE, 0.0) == -math.inf


def test_writes_follow_each_other_no_closer_than_answers_come(calls: Calls) -> None:
    begun = [_write(calls, "a", "b", now=number)[0] for number in range(UNDER_WAY_MAX)]
    assert calls.free_at(WRITES, NODE, 0.0) == SPACING_S
    calls.answered_in_part(NODE, [_part(begun[1], 0)], 0.0)
    assert calls.free_at(WRITES, NODE, 0.0) == -math.inf
    assert calls.is_streamed(begun[1]), "b has not been answered yet"


def test_an_answer_is_its_tickets_own_and_counts_once(calls: Calls) -> None:
    call, (a, b) = _write(calls, "a", "b")
    assert calls.answered_in_part(NODE, [_part(call, 1)], 0.0) == ([b], [Binding("A", 1, 5, True)])
    assert (a.calls, b.calls) == (1, 0)
    assert calls.answered_in_part(NODE, [_part(call, 1)], 0.0) == ([], [])
    tickets, _ = calls.answered_in_part(NODE, [_part(call, 0)], 0.0)
    assert tickets == [a]
    assert not calls.is_streamed(call) and calls.next_expiry() is None


def test_what_another_node_says_of_a_call_is_not_heeded(calls: Calls) -> None:
    call, (a,) = _write(calls, "a")
    assert calls.answered_in_part(OTHER, [_part(call, 0)], 0.0) == ([], [])
    assert a.calls == 1 and calls.is_streamed(call)


def test_what_was_not_answered_in_time_is_late_by_a_grace(calls: Calls) -> None:
    call, (a,) = _write(calls, "a", now=10.0)
    assert calls.take_expired(11.0 + GRACE_S - 0.02) == []
    assert calls.take_expired(11.0 + GRACE_S + 0.02) == [call]
    assert calls.landed(call) == [a]
    assert calls.answered_in_part(NODE, [_part(call, 0)], 0.0) == ([], []), "it was given up"


def test_with_a_stream_ends_what_was_under_way_on_it_and_nothing_else(calls: Calls) -> None:
    _, first = _write(calls, "a", "b")
    other = calls.begin(WRITES, OTHER, _binds("c"), 1.0, 0.0)
    read = calls.begin(READS, NODE, [Ticket(READS, ["k"], 1.0)], 1.0, 0.0)
    second, (d, e) = _write(calls, "d", "e")
    calls.answered_in_part(NODE, [_part(second, 0)], 0.0)
    assert calls.stream_ended(NODE) == [*first, e]
    assert all(ticket.calls == 0 for ticket in [*first, d, e])
    assert calls.is_streamed(other)
    assert len(calls.landed(read)) == 1
    assert calls.stream_ended(NODE) == []
