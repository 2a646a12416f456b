"""What a driver measures: each phase of a write from its own beginning to its own end."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from globaltable.model import Op, OpKind, Outcome, OutcomeStatus, qualified_name
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver
from globaltable.server.effects import Turn
from globaltable.server.measures import Measures, Phase
from globaltable.server.watches import Watches
from globaltable.topology import one_node_each, spread
from tests.server.test_driver import _Clock
from tests.simulation.disk import Platter, SimLog, SimTable


class _Node:
    """One of three, whose disk is written when it is asked to."""

    def __init__(self, name: str, pending_ops: int, measures: Measures | None) -> None:
        self.name = name
        self.clock = _Clock()
        self.log = SimLog(Platter())
        self.turns: list[Turn] = []
        self.sent: list[tuple[str, bytes]] = []
        self.core = NodeCore(
            topology=spread("im", one_node_each("abc"), 1, 3, slots=16),
            node=name,
            log=self.log,
            table=SimTable(Platter()),
            timing=Timing(),
            limits=ReplicaLimits(pending_ops=pending_ops),
            flush_rows=1_000_000,
            flush_interval_s=1e9,
            rng=random.Random(name),
            now=0.0,
        )
        self.driver = Driver(
            core=self.core,
            clock=self.clock,
            send=lambda peer, frame: self.sent.append((peer, frame)),
            watches=Watches(self.core.serving),
            on_out_of_service=lambda failure: None,
            on_failure=self._fail,
            measures=measures,
        )
        self.driver.attach(self, self)
        for peer in "abc":
            if peer != name:
                self.core.set_connected(peer, True)

    def _fail(self, error: BaseException) -> None:
        raise error

    def submit(self, turn: Any) -> None:
        if isinstance(turn, Turn):
            self.turns.append(turn)

    def sweep(self) -> None:
        raise AssertionError("nothing was installed")

    def forget(self, group: int) -> None:
        raise AssertionError("nothing has failed")

    def sync(self) -> None:
        turns, self.turns = self.turns, []
        if turns:
            self.log.commit([write for turn in turns for write in turn.writes])
            self.driver.persisted(turns)


class _Trio:
    """Three nodes of one group, led by the first, which is measured."""

    def __init__(self, pending_ops: int = 1_000) -> None:
        self.fine_s = 1.0
        self.measures = Measures(lambda: self.fine_s)
        self.first = _Node("a", pending_ops, self.measures)
        others = [_Node(name, pending_ops, None) for name in "bc"]
        self.nodes = {node.name: node for node in (self.first, *others)}
        self.told: list[OutcomeStatus] = []

    def elect(self) -> None:
        for _ in range(100):
            self.pass_time(0.025)
            if self.first.core.replicas[0].is_leader:
                break
        for _ in range(10):
            self.pass_time(0.025)
        assert self.first.core.replicas[0].is_leader

    def pass_time(self, seconds: float) -> None:
        for node in self.nodes.values():
            node.clock.now += seconds
            node.driver.wake()
        self.run()

    def run(self) -> None:
        """Until nothing is left to be done at this time."""
        for _ in range(100):
            for node in self.nodes.values():
                node.clock.run()
                node.sync()
                sent, node.sent = node.sent, []
                for peer, frame in sent:
                    self.nodes[peer].core.receive(node.name, frame)
                    self.nodes[peer].driver.wake()
            if not any(node.clock.soon or node.turns for node in self.nodes.values()):
                return
        raise AssertionError("it goes on for ever")

    def bind(self, *keys: str, table: str = "t", client_id: int = 1) -> None:
        ops = [
            Op(OpKind.BIND, qualified_name(table, key), "A", 0, client_id, number)
            for number, key in enumerate(keys, start=1)
        ]
        self.first.driver.submit(ops, self.first.clock.now + 5, self.tell)

    def tell(self, _: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        self.told += [outcome.status for outcome in outcomes]

    @property
    def batches(self) -> dict[str, int]:
        return {
            "queue": self.measures.phases[Phase.QUEUE].count,
            "replicate": self.measures.phases[Phase.REPLICATE].count,
            "commit": self.measures.commit.count,
        }


@pytest.fixture
def trio() -> _Trio:
    trio = _Trio()
    trio.elect()
    return trio


def test_each_phase_of_a_write_lasts_from_its_own_beginning_to_its_own_end(trio: _Trio) -> None:
    measures, first = trio.measures, trio.first
    persisted_before = measures.phases[Phase.PERSIST].sum_s
    trio.fine_s = 10.0
    trio.bind("a", "b")
    trio.fine_s = 10.003
    first.clock.run()
    assert len(first.turns) == 1, "the batch was sealed, and its turn waits for the disk"
    trio.fine_s = 10.010
    assert measures.persisting_for_s == pytest.approx(0.007)
    trio.run()
    assert trio.told == [OutcomeStatus.APPLIED] * 2
    assert measures.persisting_for_s == 0.0
    assert measures.phases[Phase.QUEUE].sum_s == pytest.approx(0.003)
    assert measures.phases[Phase.REPLICATE].sum_s == pytest.approx(0.007)
    assert measures.phases[Phase.PERSIST].sum_s - persisted_before == pytest.approx(0.007)
    assert measures.commit.sum_s == pytest.approx(0.010)


def test_a_batch_is_one_observation_however_many_requests_are_in_it(trio: _Trio) -> None:
    for client_id, key in enumerate("abcde", start=1):
        trio.bind(key, client_id=client_id)
    trio.run()
    assert trio.told == [OutcomeStatus.APPLIED] * 5
    assert trio.batches == {"queue": 1, "replicate": 1, "commit": 1}


def test_a_read_at_a_barrier_waits_for_a_batch_and_is_no_op(trio: _Trio) -> None:
    trio.first.driver.submit_read(0, trio.first.clock.now + 5, trio.tell)
    trio.run()
    assert trio.batches == {"queue": 1, "replicate": 1, "commit": 1}
    assert not trio.measures.ops


def test_ops_are_counted_by_table_and_outcome(trio: _Trio) -> None:
    trio.bind("a", "b")
    trio.bind("a", "c", table="u", client_id=2)
    trio.run()
    trio.bind("a", client_id=3)
    trio.run()
    assert trio.measures.ops == {
        ("t", OutcomeStatus.APPLIED): 2,
        ("u", OutcomeStatus.APPLIED): 2,
        ("t", OutcomeStatus.EXISTS): 1,
    }


def test_what_is_refused_at_once_is_counted_too() -> None:
    trio = _Trio(pending_ops=2)
    trio.bind("a", "b", "c")
    assert trio.told == [OutcomeStatus.OVERLOADED] * 3
    assert trio.measures.ops == {("t", OutcomeStatus.OVERLOADED): 3}


def test_what_expires_before_it_is_proposed_has_no_phases() -> None:
    trio = _Trio()
    trio.bind("a")
    first = trio.first
    first.clock.now += 9.0
    first.clock.run()
    assert trio.told == [OutcomeStatus.UNAVAILABLE]
    assert trio.batches == {"queue": 0, "replicate": 0, "commit": 0}
    assert trio.measures.ops == {("t", OutcomeStatus.UNAVAILABLE): 1}
