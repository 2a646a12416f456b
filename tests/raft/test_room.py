"""Memory stays within bounds while the disk of the table, or a follower, takes what time it likes.

The log cannot be cut before the table is flushed, nor behind a snapshot that a follower is sent.
"""

import itertools

import pytest

from globaltable.raft.guard import Guard
from globaltable.replica_limits import ReplicaLimits
from tests.raft.timed_group import HEARTBEAT_S, TimedGroup

LOG_FULL = ReplicaLimits(log_entries=1)
"""Nothing more is taken at 64 entries."""
ROWS_FULL = ReplicaLimits(unflushed_rows=64)
SLACK = 8
"""What may come in one turn after the last look."""


def _group(limits: ReplicaLimits) -> TimedGroup:
    ways = dict.fromkeys(itertools.permutations("abc", 2), 0.005)
    return TimedGroup("abc", ways, leader="a", limits=limits)


def _bind_all(group: TimedGroup, binds: int, *, flushing: str, entry: str = "a") -> list[int]:
    numbers = []
    for _ in range(binds):
        numbers.append(group.bind(entry))
        group.run(0.1)
        for name in flushing:
            group.flush(name)
    return numbers


@pytest.mark.parametrize("limits", [LOG_FULL, ROWS_FULL])
def test_with_no_disk_that_keeps_up_no_more_is_taken_until_one_does(limits: ReplicaLimits) -> None:
    group = _group(limits)
    numbers = _bind_all(group, 200, flushing="")
    told = len(group.told)
    assert 32 <= told <= 64 + SLACK
    for replica in group.replicas.values():
        assert len(replica.guard.journal) <= 64 + SLACK
        assert replica.table.unflushed_rows <= 64 + SLACK
    terms = {replica.guard.term for replica in group.replicas.values()}
    group.run(20 * HEARTBEAT_S)
    assert {replica.guard.term for replica in group.replicas.values()} == terms, "they only wait"
    for _ in range(10):
        for name in "abc":
            group.flush(name)
        group.run(5 * HEARTBEAT_S)
    assert set(group.told) >= set(numbers)


@pytest.mark.parametrize("limits", [LOG_FULL, ROWS_FULL])
def test_one_slow_disk_of_a_follower_holds_up_nobody_and_it_catches_up(
    limits: ReplicaLimits,
) -> None:
    group = _group(limits)
    numbers = _bind_all(group, 200, flushing="ac")
    assert set(group.told) >= set(numbers)
    slow = group.replicas["b"]
    assert len(slow.guard.journal) <= 64 + SLACK
    assert slow.table.unflushed_rows <= 64 + SLACK
    assert group.replicas["a"].is_leader


@pytest.mark.parametrize("limits", [LOG_FULL, ROWS_FULL])
def test_a_leader_whose_disk_is_slow_lets_another_lead(limits: ReplicaLimits) -> None:
    group = _group(limits)
    numbers = _bind_all(group, 200, flushing="bc", entry="c")
    group.run(5 * HEARTBEAT_S)
    assert set(group.told) >= set(numbers)
    assert not group.replicas["a"].is_leader


def test_a_follower_with_room_again_is_sent_what_it_has_not_taken() -> None:
    group = _group(ROWS_FULL)
    _bind_all(group, 200, flushing="ac")
    slow, leader = group.replicas["b"], group.replicas["a"]
    behind = leader.table.applied - slow.table.applied
    assert behind > 100
    for _ in range(6):
        group.flush("b")
        group.run(3 * HEARTBEAT_S)
    assert slow.table.applied == leader.table.applied


def test_a_transfer_that_takes_for_ever_does_not_keep_the_log_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = _group(LOG_FULL)
    monkeypatch.setattr(Guard, "oldest_transfer", property(lambda _: 2))
    numbers = _bind_all(group, 200, flushing="abc")
    assert set(group.told) >= set(numbers)
    for replica in group.replicas.values():
        assert len(replica.guard.journal) <= 64 + SLACK
