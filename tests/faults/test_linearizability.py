"""The checker on objects from the literature: it knows no more of a register than of a queue.

The definition it must keep is Herlihy & Wing's (TOPLAS 1990, §2): an order that explains every
answer and keeps the order of ops that did not overlap.
"""

from collections.abc import Hashable
from typing import NamedTuple

import pytest

from tests.faults.linearizability import Finding, Shortcut, Timed, Verdict, check

GOOD, BAD = Verdict.LINEARIZABLE, Verdict.NOT_LINEARIZABLE


class Write(NamedTuple):
    value: int


class Read(NamedTuple):
    told: int


class Enq(NamedTuple):
    item: str


class Deq(NamedTuple):
    told: str


class PlainRegister:
    """Read and write, no versions: every place of a write has to be tried."""

    initial = 0

    def step(self, state: int, op: Write | Read) -> int | None:
        if isinstance(op, Write):
            return op.value
        return state if op.told == state else None

    def shortcut(self, op: Write | Read) -> Shortcut:
        return Shortcut.READS if isinstance(op, Read) else Shortcut.NONE

    def needs(self, op: Write | Read) -> Hashable:
        return None

    def moment(self, state: int) -> Hashable:
        return None


class Queue:
    """First in, first out."""

    initial: tuple[str, ...] = ()

    def step(self, state: tuple[str, ...], op: Enq | Deq) -> tuple[str, ...] | None:
        if isinstance(op, Enq):
            return (*state, op.item)
        return state[1:] if state[:1] == (op.told,) else None

    def shortcut(self, op: Enq | Deq) -> Shortcut:
        return Shortcut.NONE

    def needs(self, op: Enq | Deq) -> Hashable:
        return None

    def moment(self, state: tuple[str, ...]) -> Hashable:
        return None


def on_register(*ops: tuple[Write | Read, int, int | None]) -> Finding:
    return check(PlainRegister(), [Timed(*op) for op in ops])


@pytest.mark.parametrize(
    ("ops", "verdict"),
    [
        # Porcupine's README, from the MIT 6.824 quiz of 2017.
        ([(Write(100), 0, 100), (Read(100), 25, 75), (Read(0), 30, 60)], GOOD),
        ([(Write(200), 0, 100), (Read(200), 10, 30), (Read(0), 40, 90)], BAD),
        # Porcupine's tests: ops that take no time at all.
        ([(Write(1), 0, 100), (Read(1), 25, 75), (Read(0), 30, 30), (Read(0), 30, 30)], GOOD),
        ([(Write(2), 0, 100), (Read(2), 10, 10), (Read(2), 10, 10), (Read(0), 40, 90)], BAD),
        # Knossos's README: a write whose process crashed, and a read that sees it, or does not.
        ([(Write(3), 0, None), (Read(3), 1, 2)], GOOD),
        ([(Write(3), 0, None), (Read(0), 1, 2)], GOOD),
        # It may take effect after other reads, but not before it was asked for, nor be undone.
        ([(Write(3), 0, None), (Read(0), 1, 2), (Read(3), 3, 4)], GOOD),
        ([(Read(3), 1, 2), (Write(3), 3, None)], BAD),
        ([(Write(3), 0, None), (Read(3), 1, 2), (Read(0), 3, 4)], BAD),
        # It takes effect once: after another write its value does not come back.
        ([(Write(3), 0, None), (Read(3), 1, 2), (Write(4), 3, 4), (Read(3), 5, 6)], BAD),
        # Two that are equal may take effect one after the other.
        (
            [
                (Write(3), 0, None),
                (Write(3), 0, None),
                (Read(3), 1, 2),
                (Write(4), 3, 4),
                (Read(3), 5, 6),
            ],
            GOOD,
        ),
        # Two readers see two overlapping writes in opposite orders (ibid. §1: not atomic).
        (
            [
                (Write(1), 0, 9),
                (Write(2), 0, 9),
                (Read(1), 1, 2),
                (Read(2), 3, 4),
                (Read(1), 5, 6),
            ],
            BAD,
        ),
        # A write that changes nothing now may be needed later: it is no read.
        ([(Write(1), 0, 1), (Write(1), 2, 9), (Write(2), 3, 4), (Read(1), 5, 6)], GOOD),
        # What touches overlaps.
        ([(Write(1), 0, 5), (Read(0), 5, 6)], GOOD),
        ([(Write(1), 0, 5), (Read(0), 6, 7)], BAD),
        ([], GOOD),
    ],
)
def test_histories_of_a_plain_register(
    ops: list[tuple[Write | Read, int, int | None]], verdict: Verdict
) -> None:
    assert on_register(*ops).verdict is verdict


@pytest.mark.parametrize(
    ("ops", "verdict"),
    [
        # After the four histories of Herlihy & Wing's first figure.
        (
            [(Enq("x"), 0, 4), (Enq("y"), 2, 6), (Deq("y"), 7, 9), (Deq("x"), 8, 12)],
            GOOD,
        ),
        ([(Enq("x"), 0, 2), (Enq("y"), 3, 5), (Deq("y"), 6, 8)], BAD),
        ([(Enq("x"), 0, 9), (Deq("x"), 2, 4)], GOOD),
        ([(Enq("x"), 0, 4), (Enq("y"), 2, 6), (Deq("y"), 7, 10), (Deq("y"), 8, 11)], BAD),
    ],
)
def test_histories_of_a_queue(
    ops: list[tuple[Enq | Deq, int, int | None]], verdict: Verdict
) -> None:
    assert check(Queue(), [Timed(*op) for op in ops]).verdict is verdict


def test_an_order_that_explains_everything_is_given() -> None:
    finding = on_register((Write(100), 0, 100), (Read(100), 25, 75), (Read(0), 30, 60))
    assert finding.order == (2, 0, 1)
    assert finding.unplaced is None


def test_of_what_cannot_be_explained_the_longest_beginning_and_the_culprit_are_named() -> None:
    finding = on_register((Write(1), 0, 1), (Read(1), 2, 3), (Read(2), 4, 5), (Read(1), 6, 7))
    assert finding.order == (0, 1)
    assert finding.unplaced == 2


def _a_hard_history(writes: int) -> list[Timed[Write | Read]]:
    """Every order of the writes has to be ruled out, for the last read is of none of them."""
    ops: list[Timed[Write | Read]] = [Timed(Write(n), 0, 10) for n in range(1, writes + 1)]
    return [*ops, Timed(Read(-1), 11, 12)]


def test_a_search_beyond_its_bound_is_undecided() -> None:
    """Rather than to hang: to decide is NP-complete (Gibbons & Korach, SIAM J. Comput. 1997)."""
    assert check(PlainRegister(), _a_hard_history(5)).verdict is BAD
    finding = check(PlainRegister(), _a_hard_history(40), steps_max=10_000)
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.steps < 11_000
    # And while there is nothing to choose, too.
    idle: list[Timed[Write | Read]] = [Timed(Read(0), n, n + 1) for n in range(0, 400, 2)]
    ends: list[Timed[Write | Read]] = [Timed(Read(7), 500, 501)]
    assert check(PlainRegister(), [*idle, *ends], steps_max=100).verdict is Verdict.UNDECIDED


def test_what_was_tried_is_not_tried_again() -> None:
    """Lowe's memory: 12 writes have half a billion orders, but 24,576 sets with a last one."""
    finding = check(PlainRegister(), _a_hard_history(12))
    assert finding.verdict is BAD
    assert finding.steps < 1_000_000


def test_a_long_history_takes_no_deep_stack() -> None:
    ops: list[Timed[Write | Read]] = []
    for n in range(20_000):
        ops.append(Timed(Write(n), 4 * n, 4 * n + 1))
        ops.append(Timed(Read(n), 4 * n + 2, 4 * n + 3))
    assert check(PlainRegister(), ops).verdict is GOOD
