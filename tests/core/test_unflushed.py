"""A disk that does not keep up bounds what a replica takes on, and what it holds in memory."""

import random

from globaltable.group import Replica, ReplicaLimits
from globaltable.model import Op, OpKind, OutcomeStatus, qualified_name
from globaltable.raft.adaptor import Timing
from globaltable.topology import Group
from tests.simulation.disk import Platter, SimLog, SimTable

TIMING = Timing(heartbeat_s=0.05, election_min_s=0.5, election_max_s=1.0)
UNFLUSHED_MAX = 100
BATCH_OPS = 10


class _Trio:
    """Three replicas that flush only if told to; messages arrive at once. `a` leads."""

    def __init__(self) -> None:
        self._now = 100.0
        self._sequence = 0
        self.told: list[OutcomeStatus] = []
        self._logs = {name: SimLog(Platter()) for name in "abc"}
        self._tables = {name: SimTable(Platter()) for name in "abc"}
        self.replicas = {
            name: Replica(
                group=Group(0, ("a", "b", "c")),
                node=name,
                slots=16,
                image=self._logs[name].load(0),
                store=self._tables[name],
                timing=TIMING,
                limits=ReplicaLimits(unflushed_ops=UNFLUSHED_MAX),
                rng=random.Random(name),
                now=self._now,
            )
            for name in "abc"
        }
        for name, replica in self.replicas.items():
            for peer in {*"abc"} - {name}:
                replica.set_connected(peer, True)
        self.run(2.0)
        assert self.replicas["a"].is_leader

    def run(self, seconds: float) -> None:
        until = self._now + seconds
        while self._now < until:
            self._now += TIMING.heartbeat_s / 2
            turns = [*self.replicas]
            while turns:
                turns += self._turn(turns.pop(0))

    def _turn(self, name: str) -> list[str]:
        replica = self.replicas[name]
        ready = replica.step(self._now)
        if ready.write is not None:
            self._logs[name].commit([ready.write])
        completed = replica.complete()
        for _, outcomes in (*ready.settled, *completed.settled):
            self.told += [outcome.status for outcome in outcomes]
        sent = [*ready.at_once, *ready.messages, *completed.messages]
        due = [to for to, message in sent if self.replicas[to].receive(name, message)]
        return [*due, name] if replica.wants_step else due

    def bind(self, at: str, patience_s: float = 5.0) -> bool:
        """Submit some binds and let them end; whether they were taken."""
        ops = []
        for _ in range(BATCH_OPS):
            self._sequence += 1
            name = qualified_name("t", str(self._sequence))
            ops.append(Op(OpKind.BIND, name, "A", 0, 7, self._sequence))
        taken = self.replicas[at].submit(ops, "ticket", self._now + patience_s)
        self.run(0.1)
        return taken

    def flush(self, name: str) -> None:
        flush = self.replicas[name].begin_flush()
        assert flush is not None
        self._tables[name].flush([(0, flush)])
        self._tables[name].refresh()
        self.replicas[name].table.end_flush()

    def unflushed(self, name: str) -> int:
        return self.replicas[name].table.unflushed_ops


def test_ops_are_refused_until_what_is_held_in_memory_is_flushed() -> None:
    trio = _Trio()
    taken = 0
    while trio.bind("a"):
        taken += 1
        assert taken < 50, "without an end"
        assert trio.replicas["a"].wants_flush == (trio.unflushed("a") > UNFLUSHED_MAX // 2)
    assert trio.told == [OutcomeStatus.APPLIED] * (BATCH_OPS * taken)
    assert UNFLUSHED_MAX <= trio.unflushed("a") <= UNFLUSHED_MAX + BATCH_OPS
    for name in "abc":
        trio.flush(name)
    assert trio.bind("a")
    assert trio.told == [OutcomeStatus.APPLIED] * (BATCH_OPS * (taken + 1))


def test_a_flush_that_is_under_way_counts_until_its_end() -> None:
    trio = _Trio()
    while trio.bind("a"):
        pass
    assert trio.replicas["a"].begin_flush() is not None
    assert not trio.bind("a")
    trio.replicas["a"].table.end_flush()
    assert trio.bind("a")


def test_a_leader_whose_disk_is_behind_takes_no_proposals_of_others() -> None:
    trio = _Trio()
    for _ in range(5 * UNFLUSHED_MAX // BATCH_OPS):
        trio.bind("b", patience_s=1.0)
        if trio.unflushed("b") > UNFLUSHED_MAX // 2:
            trio.flush("b")
            trio.flush("c")
    assert trio.unflushed("a") <= UNFLUSHED_MAX + BATCH_OPS
    trio.run(2.0)
    assert trio.replicas["a"].is_leader, "it lives, and leads"
    unknown = trio.told.count(OutcomeStatus.UNKNOWN)
    assert unknown == 4 * UNFLUSHED_MAX, "all that it did not take has ended"
    trio.flush("a")
    trio.told.clear()
    assert trio.bind("b")
    assert trio.told == [OutcomeStatus.APPLIED] * BATCH_OPS


def test_a_follower_whose_disk_is_behind_holds_up_nobody_and_catches_up() -> None:
    trio = _Trio()
    for _ in range(10 * UNFLUSHED_MAX // BATCH_OPS):
        assert trio.bind("a")
        for name in "ab":
            if trio.unflushed(name) > UNFLUSHED_MAX // 2:
                trio.flush(name)
    assert trio.told == [OutcomeStatus.APPLIED] * (10 * UNFLUSHED_MAX)
    assert trio.unflushed("c") <= UNFLUSHED_MAX + BATCH_OPS
    assert trio.replicas["a"].is_leader
    while trio.unflushed("c") > UNFLUSHED_MAX // 2:
        trio.flush("c")
        trio.run(0.2)
    tables = [replica.table for replica in trio.replicas.values()]
    assert len({table.applied for table in tables}) == 1
    assert tables[2].get(qualified_name("t", str(10 * UNFLUSHED_MAX))) is not None
