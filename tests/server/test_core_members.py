"""A node gains and loses replicas while it runs, and finds what it left when it starts again."""

import random

import pytest

from globaltable.errors import ConfigError
from globaltable.members import Members
from globaltable.model import Op, OpKind, OutcomeStatus, qualified_name
from globaltable.raft.adaptor import Timing
from globaltable.raft.messages import Heartbeat, Removed
from globaltable.raft.transfer import DiscardTable
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.core import NodeCore
from globaltable.server.effects import Effects, GroupJob
from globaltable.store.log import HardState
from globaltable.table_state import TableState
from globaltable.topology import Group, one_node_each, spread
from globaltable.wire.frames import encode_frame
from tests.simulation.disk import Platter, SimLog, SimTable, _Generation

TOPOLOGY = spread("im", one_node_each("abc"), 1, 3, slots=16)
THREE = Members(("a", "b", "c"))


class _Node:
    """Its core, on a disk that outlives it."""

    def __init__(self, name: str, platter: Platter | None = None) -> None:
        self.platter = platter or Platter()
        self.name = name
        self.now = 0.0
        self.log, self.table = SimLog(self.platter), SimTable(self.platter)
        self.core = NodeCore(
            topology=TOPOLOGY,
            node=name,
            log=self.log,
            table=self.table,
            timing=Timing(),
            limits=ReplicaLimits(),
            flush_rows=10,
            flush_interval_s=1.0,
            rng=random.Random(1),
            now=0.0,
        )

    def turn(self, *, discards: bool = True) -> list[Effects]:
        self.now += 0.05
        turn = self.core.begin(self.now)
        self.log.commit(turn.writes)
        effects = [turn.effects, self.core.complete([turn])]
        for job in effects[1].jobs:
            if isinstance(job, GroupJob) and isinstance(job.job, DiscardTable) and discards:
                self.table.discard(job.group)
                self.core.discarded(job.group)
        return effects

    def again(self) -> "_Node":
        return _Node(self.name, self.platter)


def test_a_node_founds_what_the_topology_puts_there() -> None:
    assert _Node("a").core.replicas[0].members == THREE
    assert not _Node("z").core.replicas


def test_a_replica_that_is_added_waits_for_its_leader_and_promises_nothing_meanwhile() -> None:
    node = _Node("z")
    node.core.add_replica(Group(0, ("z", "b", "c")), None)
    node.turn()
    replica = node.core.replicas[0]
    assert replica.is_joining and replica.members is None
    assert replica.rebuilding == "waits to be added by the leader of its group"
    assert "is being joined by z" in node.core.refusal(0)
    assert node.platter.states[0] == HardState(0, None, joining=True)


def test_it_is_still_joining_when_the_node_starts_again_and_knows_of_no_such_group() -> None:
    node = _Node("z")
    node.core.add_replica(Group(0, ("z", "b", "c")), None)
    node.turn()
    assert node.again().core.replicas[0].is_joining


def test_a_founder_knows_the_founders_whatever_it_is_told_later() -> None:
    """The topology that a node is given at its next start may be a later one."""
    node = _Node("a")
    node.turn()
    node.core.topology = spread("im", one_node_each("axy"), 1, 3, slots=16)
    assert node.again().core.replicas[0].members == THREE


def test_a_link_that_is_up_already_is_up_for_a_replica_that_comes() -> None:
    node = _Node("z")
    node.core.set_connected("b", True)
    node.core.add_replica(Group(0, ("z", "b", "c")), None)
    assert node.core.replicas[0].guard.is_connected("b")


def test_a_replica_that_its_group_counts_on_is_not_discarded() -> None:
    node = _Node("a")
    with pytest.raises(ConfigError, match="group 0 counts on its replica on a"):
        node.core.remove_replica(0)
    with pytest.raises(ConfigError, match="no replica on a to remove"):
        node.core.remove_replica(7)


def _removed() -> _Node:
    node = _Node("a")
    node.core.receive("b", encode_frame([(0, Heartbeat(4))]))
    node.turn()
    node.core.receive("b", encode_frame([(0, Removed(4, 9))]))
    told = [group for effects in node.turn() for group in effects.removed]
    assert told == [0], "once"
    assert not any(effects.removed for effects in node.turn())
    assert "has removed its replica" in node.core.refusal(0)
    return node


def test_one_that_its_group_has_removed_is_told_of_and_discarded() -> None:
    node = _removed()
    op = Op(OpKind.BIND, qualified_name("t", "k"), "A", 0, 1, 1)
    node.core.submit(0, [op], "ticket", 100.0)
    node.core.remove_replica(0)
    effects = node.turn()
    ((ticket, (outcome,)),) = [end for each in effects for end in each.settled]
    assert (ticket, outcome.status) == ("ticket", OutcomeStatus.UNAVAILABLE)
    assert not node.core.replicas
    assert not node.platter.entries[0]
    assert node.platter.states[0] == HardState(4, None, joining=True)


def test_one_that_was_discarded_is_not_founded_again_by_a_start() -> None:
    """It has forgotten what it held: it comes again, if at all, as one that joins."""
    node = _removed()
    node.core.remove_replica(0)
    node.turn()
    again = node.again()
    assert not again.core.replicas
    again.turn()
    again.core.add_replica(TOPOLOGY.groups[0], THREE)
    assert again.core.replicas[0].is_joining
    assert again.core.replicas[0].guard.term == 4, "in which it may have voted"


def test_a_crash_between_log_and_table_leaves_no_row_of_an_earlier_life() -> None:
    node = _removed()
    node.platter.tables[0] = _Generation(TableState(5, 4, 1, THREE), {b"\0\0t\0k": b"row"}, ())
    node.core.remove_replica(0)
    node.turn(discards=False)
    assert node.platter.rows(0)
    again = node.again()
    again.core.add_replica(TOPOLOGY.groups[0], None)
    assert not again.core.replicas, "not before its table is void"
    again.turn()
    assert again.core.replicas[0].is_joining
    assert not node.platter.rows(0)


def test_one_that_is_wanted_again_waits_until_what_was_there_is_gone() -> None:
    node = _removed()
    node.core.remove_replica(0)
    node.core.add_replica(TOPOLOGY.groups[0], None)
    assert not node.core.replicas
    node.turn()
    assert node.core.replicas[0].is_joining


def test_what_is_wanted_reaches_the_replica() -> None:
    node = _Node("a")
    wanted = Members(("a", "b", "d"))
    node.core.set_wanted(0, wanted, "b")
    replica = node.core.replicas[0]
    assert (replica.wanted, replica.preferred, replica.is_as_wanted) == (wanted, "b", False)
    node.core.set_wanted(7, wanted)
