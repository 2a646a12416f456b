"""What a replica keeps of batches under way: each once in a leader's log, and not for ever."""

import itertools
from collections.abc import Iterator

import pytest

from globaltable import under_way
from globaltable.group import Replica
from globaltable.model import Batch, Op, OpKind, qualified_name
from globaltable.raft.messages import Ack, Propose
from globaltable.wire.batches import encode_batch
from tests.raft.timed_group import TIMING, TimedGroup


def _op(number: int) -> Op:
    return Op(OpKind.BIND, qualified_name("t", f"k{number}"), "A", 0, 9, number)


def _batch(number: int, ops: int = 1) -> Batch:
    return Batch(number.to_bytes(16, "big"), 1, tuple(_op(number + at) for at in range(ops)))


@pytest.fixture
def group() -> TimedGroup:
    ways = dict.fromkeys(itertools.permutations("abc", 2), 0.005)
    return TimedGroup("abc", ways, leader="a")


def _seconds(group: TimedGroup, replica: Replica) -> Iterator[float]:
    """Time passes for one replica alone: whatever it sends is lost."""
    now = group.now
    for _ in range(int(2.5 * TIMING.election_max_s / (TIMING.heartbeat_s / 2))):
        now += TIMING.heartbeat_s / 2
        yield now
        replica.step(now, may_hand_over=False)
        replica.complete()


def test_a_batch_that_is_proposed_again_is_not_appended_again(group: TimedGroup) -> None:
    """It is slow, perhaps because there is too much already; it is not lost."""
    leader, payload = group.replicas["a"], encode_batch(_batch(1))
    before = leader.guard.journal.last_index
    for _ in range(3):
        leader.receive("b", Propose(payload))
    assert leader.guard.journal.last_index == before + 1
    leader.receive("b", Propose(encode_batch(_batch(2))))
    assert leader.guard.journal.last_index == before + 2
    bound_s = group.bind_s("c")
    assert bound_s < TIMING.heartbeat_s
    assert group.replicas["c"].table.get(qualified_name("t", "k1")) is not None


def test_a_leader_that_waits_long_for_its_own_batch_does_not_append_it_again(
    group: TimedGroup,
) -> None:
    leader = group.replicas["a"]
    before = leader.guard.journal.last_index
    assert leader.submit([_op(1)], "caller", float("inf"))
    for _ in _seconds(group, leader):
        for peer in "bc":
            leader.receive(peer, Ack(leader.guard.term, 0, 0, success=False, reset=False))
    assert leader.is_leader
    assert leader.guard.journal.last_index == before + 1


def test_a_follower_proposes_again_what_may_be_lost(group: TimedGroup) -> None:
    """So the leader's word that a batch is under way must end with its leadership, and does."""
    leader, payload = group.replicas["a"], encode_batch(_batch(1))
    leader.receive("b", Propose(payload))
    for _ in _seconds(group, leader):
        pass
    assert not leader.is_leader, "nobody has answered"
    term = leader.guard.term
    group.run(10 * TIMING.election_max_s)
    (leader,) = [replica for replica in group.replicas.values() if replica.is_leader]
    assert leader.guard.term > term
    leader.receive("c", Propose(payload))
    last = leader.guard.journal[-1]
    assert (last.command[1:], last.term) == (payload, leader.guard.term)


def test_what_is_never_applied_is_not_kept_decoded_for_ever(
    group: TimedGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "_DECODED_OPS_MAX", 10)
    leader = group.replicas["a"]
    for number in range(0, 100, 4):
        leader.receive("b", Propose(encode_batch(_batch(number, ops=4))))
        kept = leader._under_way
        assert sum(len(batch.ops) for batch in kept._decoded.values()) == kept.decoded_ops <= 10
    group.bind_s("a")
    assert leader._under_way.decoded_ops == 0 and not leader._under_way._decoded
