"""Who comes to a replica that is late all the time is refused early, and nobody for an election."""

import random

from globaltable.lateness import LATE_S, OPS_MIN, Lateness
from globaltable.model import Op, OpKind, Outcome, OutcomeStatus
from globaltable.proposals import UNTIMED_OPS_MAX, Proposals

INFINITE = float("inf")


def _run(lateness: Lateness, start: float, seconds: float, took_s: float, ops: int) -> float:
    """A batch of so many ops ends every 10 ms; when the last one did."""
    steps = round(seconds / 0.01)
    for step in range(1, steps + 1):
        now = start + step * 0.01
        lateness.applied(ops, now - took_s, now)
    return start + steps * 0.01


def test_while_outcomes_come_in_time_there_is_no_bound() -> None:
    lateness = Lateness(0.0)
    now = _run(lateness, 0.0, 3.0, LATE_S, 100)
    assert lateness.ops_max(now) == INFINITE


def test_of_one_that_is_late_for_long_as_many_may_wait_as_are_done_in_time() -> None:
    lateness = Lateness(0.0)
    now = _run(lateness, 0.0, 3.0, 2.0, 100)
    done_in_time = 100 * LATE_S / 0.01
    assert 0.9 * done_in_time <= lateness.ops_max(now) <= 1.1 * done_in_time


def test_a_few_may_always_wait() -> None:
    lateness = Lateness(0.0)
    now = _run(lateness, 0.0, 3.0, 2.0, 1)
    assert lateness.ops_max(now) == OPS_MIN


def test_after_an_election_all_are_late_and_nobody_is_refused() -> None:
    lateness = Lateness(0.0)
    now = _run(lateness, 0.0, 1.0, 0.01, 100)
    resumed = now + 2.0
    now = _run(lateness, resumed, 0.3, 2.0, 300)
    assert lateness.ops_max(now) == INFINITE
    now = _run(lateness, now, 1.0, 0.01, 100)
    assert lateness.ops_max(now) == INFINITE


def test_while_no_outcomes_come_nobody_is_refused_for_being_late() -> None:
    lateness = Lateness(0.0)
    now = _run(lateness, 0.0, 3.0, 2.0, 100)
    assert lateness.ops_max(now) < INFINITE
    assert lateness.ops_max(now + LATE_S + 0.01) == INFINITE


def test_one_outcome_in_time_ends_it() -> None:
    lateness = Lateness(0.0)
    now = _run(lateness, 0.0, 3.0, 2.0, 100)
    lateness.applied(1, now, now)
    assert lateness.ops_max(now) == INFINITE


def _op(number: int) -> Op:
    return Op(OpKind.BIND, b"t\x00k", "u", 0, 7, number)


def test_a_replica_that_is_asked_for_more_than_it_can_do_keeps_a_short_queue() -> None:
    """It does 40 ops every 20 ms; twice as many come. Nobody waits for long, and as much is done
    as can be."""
    proposals = Proposals(1 << 20, random.Random(1), 0.0)
    batches: list[tuple[bytes, int]] = []
    taken = refused = done = 0
    longest_s = 0.0
    for step in range(1, 1_001):
        now = step * 0.02
        proposals.expire(now)
        for number in range(80):
            op = _op(step * 100 + number)
            if proposals.submit([op], now, now + 60.0):
                taken += 1
            else:
                refused += 1
        if proposals.may_seal:
            sealed = proposals.seal(1)
            batches.append((sealed.batch.batch_id, len(sealed.batch.ops)))
        room = 40 * step - done
        while batches and batches[0][1] <= room:
            batch_id, ops = batches.pop(0)
            room, done = room - ops, done + ops
            outcomes = [Outcome(OutcomeStatus.APPLIED)] * ops
            for settled in proposals.settle(batch_id, outcomes):
                if now > 5.0:
                    longest_s = max(longest_s, now - settled.ticket)
    assert done >= 0.95 * 40 * 1_000
    assert refused > 0
    assert longest_s < 4 * LATE_S
    assert proposals.ops <= UNTIMED_OPS_MAX
