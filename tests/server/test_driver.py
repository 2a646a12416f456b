"""The driver's contract: what is due is done, in order, and nothing after the end."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from globaltable.errors import Corrupt
from globaltable.model import Op, OpKind, Outcome, OutcomeStatus, qualified_name
from globaltable.raft.adaptor import Timing
from globaltable.raft.messages import Message, RequestVote, Vote
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver
from globaltable.server.effects import FlushJob, GroupJob, ReplicaFailure, Turn
from globaltable.server.watches import Watches
from globaltable.topology import one_node_each, spread
from globaltable.wire.frames import decode_frame, encode_frame
from tests.simulation.disk import Platter, SimLog, SimTable


class _Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _Clock:
    """An event loop whose time is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: list[Callable[[], None]] = []
        self.timers: list[_Timer] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None], /) -> None:
        self.soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None], /) -> _Timer:
        self.timers.append(_Timer(when, callback))
        return self.timers[-1]

    @property
    def armed(self) -> list[_Timer]:
        return [timer for timer in self.timers if timer.callback is not None]

    def run(self) -> None:
        """What is due now, and what that leads to."""
        for timer in self.armed:
            if timer.at <= self.now and timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()
        while self.soon:
            self.soon.pop(0)()


class _Node:
    """A lone node of three, whose disk is written by hand."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.log = SimLog(Platter())
        self.sent: list[tuple[str, bytes]] = []
        self.turns: list[Turn] = []
        self.failures: list[ReplicaFailure] = []
        self.unforeseen: list[BaseException] = []
        self.told: list[tuple[Sequence[int], list[OutcomeStatus]]] = []
        self.core = NodeCore(
            topology=spread("im", one_node_each("abc"), 2, 3, slots=16),
            node="a",
            log=self.log,
            table=SimTable(Platter()),
            timing=Timing(),
            limits=ReplicaLimits(pending_ops=2),
            flush_rows=10,
            flush_interval_s=1.0,
            rng=random.Random(1),
            now=0.0,
        )
        self.driver = Driver(
            core=self.core,
            clock=self.clock,
            send=lambda peer, frame: self.sent.append((peer, frame)),
            watches=Watches(self.core.serving),
            on_out_of_service=self.failures.append,
            on_failure=self.unforeseen.append,
        )
        self.driver.attach(self, _NoJobs())

    def submit(self, turn: Turn) -> None:
        self.turns.append(turn)

    def sync(self) -> None:
        turns, self.turns = self.turns, []
        self.log.commit([write for turn in turns for write in turn.writes])
        self.driver.persisted(turns)

    def tell(self, positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        self.told.append((positions, [outcome.status for outcome in outcomes]))


class _NoJobs:
    def submit(self, job: GroupJob | FlushJob) -> None:
        raise AssertionError(f"nothing was applied, and yet there is {job}")

    def sweep(self) -> None:
        raise AssertionError("nothing was installed")

    def forget(self, group: int) -> None:
        pass


@pytest.fixture
def node() -> _Node:
    return _Node()


def _bind(key: str, sequence: int) -> Op:
    return Op(OpKind.BIND, qualified_name("t", key), "A", 0, 1, sequence)


def _of_group(node: _Node, group: int, sequence: int) -> Op:
    ops = (_bind(f"k{number}", sequence) for number in range(1_000))
    return next(op for op in ops if node.core.topology.group_of(op.name) == group)


def test_many_wakes_in_one_pass_are_one_turn(node: _Node) -> None:
    for _ in range(5):
        node.driver.wake()
    assert len(node.clock.soon) == 1


def test_a_tick_is_armed_once_and_again_when_it_has_passed(node: _Node) -> None:
    node.driver.wake()
    node.clock.run()
    (timer,) = node.clock.armed
    for _ in range(3):
        node.driver.wake()
        node.clock.run()
    assert node.clock.armed == [timer]
    node.clock.now = timer.at
    node.clock.run()
    (later,) = node.clock.armed
    assert later.at > timer.at


def test_a_timer_that_comes_a_moment_early_is_believed(node: _Node) -> None:
    """An event loop rounds to its clock's resolution. Armed anew for the same moment, the timer
    would come again and again until the clock has got there."""
    node.driver.wake()
    node.clock.run()
    (timer,) = node.clock.armed
    callback = timer.callback
    timer.cancel()
    assert callback is not None
    node.clock.now = timer.at - 1e-3
    callback()
    node.clock.run()
    (later,) = node.clock.armed
    assert later.at > timer.at


def test_ops_of_several_groups_are_each_told_of_under_their_own_positions(node: _Node) -> None:
    ops = [_of_group(node, group, n) for n, group in enumerate((0, 1, 0, 1, 0), start=1)]
    node.driver.submit(ops, 5.0, node.tell)
    assert node.told == [([0, 2, 4], [OutcomeStatus.OVERLOADED] * 3)], "three are over the bound"
    node.told.clear()
    node.clock.now = 6.0
    node.clock.run()
    assert node.told == [([1, 3], [OutcomeStatus.UNAVAILABLE] * 2)], "no leader came"


def test_what_is_submitted_to_a_replica_out_of_service_is_refused_with_the_reason(
    node: _Node,
) -> None:
    node.core.fail(0, Corrupt("log entry 7 of group 0 fails its checksum"))
    told: list[Any] = []
    node.driver.submit([_of_group(node, 0, 1)], 5.0, lambda _, outcomes: told.extend(outcomes))
    node.driver.submit_read(0, 5.0, lambda _, outcomes: told.extend(outcomes))
    assert [outcome.status for outcome in told] == [OutcomeStatus.UNAVAILABLE] * 2
    assert all("log entry 7" in outcome.detail for outcome in told)
    node.clock.run()
    node.clock.run()
    assert [failure.group for failure in node.failures] == [0], "and that is reported once"


def _votes(node: _Node) -> list[tuple[str, Message]]:
    return [
        (peer, message)
        for peer, frame in node.sent
        for _, message in decode_frame(frame)
        if isinstance(message, Vote)
    ]


def test_a_vote_leaves_once_it_is_durable_and_not_before(node: _Node) -> None:
    node.core.set_connected("b", True)
    node.driver.wake()
    node.clock.run()
    node.sync()
    node.core.receive("b", encode_frame([(0, RequestVote(5, 1, 0, False))]))
    node.driver.wake()
    node.clock.run()
    assert node.turns, "the vote is to be written"
    assert _votes(node) == []
    node.sync()
    assert _votes(node) == [("b", Vote(5, True))]


def test_no_turn_is_begun_after_the_end(node: _Node) -> None:
    node.driver.wake()
    node.driver.stop()
    node.clock.run()
    assert node.turns == [] and node.clock.armed == []
    node.driver.wake()
    assert node.clock.soon == []


def test_after_what_nobody_foresaw_no_turn_is_begun(
    node: _Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a node would live on in which nothing happens any more."""

    def breaks(now: float) -> Turn:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(node.core, "begin", breaks)
    node.driver.wake()
    node.clock.run()
    assert [str(error) for error in node.unforeseen] == ["unforeseen"]
    node.driver.wake()
    assert node.clock.soon == []
