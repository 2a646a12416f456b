"""A replica in which an invariant breaks is stopped; the node and its other replicas go on."""

import random

import pytest

from globaltable.errors import Corrupt, ProtocolError
from globaltable.group import Replica, ReplicaLimits
from globaltable.raft.adaptor import Timing
from globaltable.raft.journal import InvariantViolated
from globaltable.raft.messages import Heartbeat, Message
from globaltable.server.core import NodeCore
from globaltable.topology import spread
from globaltable.wire.frames import encode_frame
from tests.simulation.disk import Platter, SimLog, SimTable


def _core() -> NodeCore:
    platter = Platter()
    return NodeCore(
        topology=spread("im", ["a", "b", "c"], 2, 3, slots=16),
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


def test_a_message_for_a_group_that_is_not_here_is_the_peers_fault() -> None:
    core = _core()
    with pytest.raises(ProtocolError, match="group 7, which is not here"):
        core.receive("b", encode_frame([(7, Heartbeat(1))]))
    assert list(core.replicas) == [0, 1]


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
    def breaks(self: Replica) -> None:
        raise AssertionError("it does not hold")

    monkeypatch.setattr(Replica, "_load_table", breaks)
    core = _core()
    assert not core.replicas and core.failures.keys() == {0, 1}
