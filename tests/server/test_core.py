"""A replica in which an invariant breaks is stopped; the node and its other replicas go on."""

import random

import pytest

from globaltable.errors import Corrupt
from globaltable.group import Replica
from globaltable.model import Op, OpKind, OutcomeStatus, qualified_name
from globaltable.raft.adaptor import Timing
from globaltable.raft.guard import Guard
from globaltable.raft.journal import InvariantViolated
from globaltable.raft.messages import Heartbeat, Message
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.core import NodeCore
from globaltable.store.log import Entry, HardState, LogImage
from globaltable.topology import one_node_each, spread
from globaltable.wire.frames import encode_frame
from tests.simulation.disk import Platter, SimLog, SimTable


def _core(*, rebuilding: int | None = None) -> NodeCore:
    platter = Platter()
    if rebuilding is not None:
        platter.states[rebuilding] = HardState(0, None, rebuilding=True)
    return NodeCore(
        topology=spread("im", one_node_each("abc"), 2, 3, slots=16),
        node="a",
        log=SimLog(platter),
        table=SimTable(platter),
        timing=Timing(),
        limits=ReplicaLimits(),
        flush_rows=10,
        flush_interval_s=1.0,
        rng=random.Random(1),
        now=0.0,
    )


@pytest.mark.parametrize("error", [AssertionError("it does not hold"), InvariantViolated("no")])
def test_a_message_that_breaks_an_invariant_stops_its_replica_alone(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    core = _core()
    receive = Replica.receive

    def breaks(self: Replica, sender: str, message: Message) -> bool:
        if self.group.number == 0:
            raise error
        return receive(self, sender, message)

    monkeypatch.setattr(Replica, "receive", breaks)
    core.receive("b", encode_frame([(0, Heartbeat(1)), (1, Heartbeat(1))]))
    assert list(core.replicas) == [1]
    assert str(error) in core.failures[0]
    assert core.begin(0.0).stepped.keys() == {1}


def test_a_message_for_a_group_that_is_not_here_is_nobodys_fault() -> None:
    """It may have been removed here, or be added soon: the peer cannot know."""
    core = _core()
    core.receive("b", encode_frame([(7, Heartbeat(1))]))
    assert list(core.replicas) == [0, 1]


def test_a_replica_that_meets_a_damaged_record_is_stopped_and_says_how_to_have_it_rebuilt() -> None:
    core = _core()
    core.fail(0, Corrupt("log entry 7 of group 0 fails its checksum"))
    core.fail(0, AssertionError("what is met first is what is told"))
    assert core.refusal(0).startswith("group 0 is out of service on a: Corrupt: log entry 7 of")
    assert "globaltable rebuild --node a --group 0" in core.refusal(0)
    assert core.refusal(1) == ""


def test_who_waits_for_a_replica_that_is_stopped_is_told() -> None:
    core = _core()
    op = Op(OpKind.BIND, qualified_name("t", "k"), "A", 0, 1, 1)
    assert core.submit(0, [op], "ticket", 100.0)
    core.fail(0, Corrupt("row k"))
    assert core.has_work
    ((ticket, (outcome,)),) = core.begin(0.0).effects.settled
    assert (ticket, outcome.status) == ("ticket", OutcomeStatus.UNAVAILABLE)
    assert core.begin(0.0).effects.settled == []


def test_who_was_to_be_told_in_the_turn_in_which_it_stops_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = _core()
    op = Op(OpKind.BIND, qualified_name("t", "k"), "A", 0, 1, 1)
    core.submit(0, [op], "ticket", 0.5)

    def breaks(self: Guard) -> list[Entry]:
        raise InvariantViolated("no")

    monkeypatch.setattr(Guard, "tick", breaks)
    assert core.begin(1.0).effects.settled == []
    ((ticket, (outcome,)),) = core.begin(1.0).effects.settled
    assert (ticket, outcome.status) == ("ticket", OutcomeStatus.UNAVAILABLE)


def test_a_core_that_is_stopped_twice_tells_nobody_twice() -> None:
    """As a node is that fails: once at once, and once when all else has ended."""
    core = _core()
    op = Op(OpKind.BIND, qualified_name("t", "k"), "A", 0, 1, 1)
    core.submit(0, [op], "of the replica that failed", 100.0)
    core.submit(1, [op], "of another", 100.0)
    core.fail(0, Corrupt("row k"))
    assert [end.ticket for end in core.stop()] == ["of the replica that failed", "of another"]
    assert core.stop() == []


def test_a_replica_that_is_rebuilt_serves_nobody() -> None:
    core = _core(rebuilding=0)
    assert core.refusal(0) == "group 0 is being rebuilt on a"
    assert core.replicas[0].rebuilding == "waits for an answer of any member"
    assert not core.submit(0, (), "reader", 100.0)
    assert core.refusal(1) == ""
    assert core.submit(1, (), "reader", 100.0)
    assert [end.ticket for end in core.stop()] == ["reader"], "its own barrier is nobody's"


def test_an_installed_snapshot_that_cannot_be_loaded_stops_its_replica_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = _core()

    def breaks(self: Replica) -> None:
        raise Corrupt("no history record")

    monkeypatch.setattr(Replica, "snapshot_installed", breaks)
    core.snapshot_installed(0)
    assert core.begin(1.0).stepped.keys() == {1}
    assert "no history record" in core.failures[0]


def test_a_replica_that_cannot_be_started_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: Replica, log: LogImage) -> None:
        raise AssertionError("it does not hold")

    monkeypatch.setattr(Replica, "_load_table", breaks)
    core = _core()
    assert not core.replicas and core.failures.keys() == {0, 1}
