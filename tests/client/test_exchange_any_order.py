"""Whatever happens to calls, in whatever order: each caller is told once, in time, and never
wrongly that it did not happen; and in the end the exchange holds nothing."""

from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from globaltable.client._attempts import FailureKind
from globaltable.client._calls import Call
from globaltable.client._deadlines import BUCKET_S
from globaltable.client._lanes import WriteOp
from globaltable.client._settings import GRACE_S, ClientClosed
from globaltable.errors import (
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    Rejected,
    Unavailable,
)
from globaltable.model import OpKind
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import (
    ADDRESSES,
    OVERLOADED,
    UNAVAILABLE,
    UNKNOWN,
    Desk,
    applied,
    failure,
    ops,
    require_nothing_held,
)

PENDING_MAX = 12
ATTEMPT_TIMEOUT_S = 0.1

LOST = failure(FailureKind.UNKNOWN)
FAILURES = [
    failure(FailureKind.UNREACHED),
    failure(FailureKind.NO_QUORUM),
    failure(FailureKind.OVERLOADED),
    failure(FailureKind.FINAL, InvalidArgument("unknown table")),
    LOST,
    LOST._replace(timed_out=True),
]
REFUSED = pb.Outcome(status=pb.OUTCOME_STATUS_INVALID_ARGUMENT, detail="no")
OUTCOMES = [applied(), UNAVAILABLE, OVERLOADED, UNKNOWN, REFUSED]

TIMEOUTS_S = st.sampled_from([0.05, 0.3, 2.0])
CHOICES = st.integers(0, 99)


class AnyOrder(RuleBasedStateMachine):
    """What each op has come to is kept here a second time, and compared with what is told."""

    @initialize(ending=st.sampled_from([None, "closed", *FAILURES]))
    def open(self, ending: Any) -> None:
        self.ending = ending
        self.desk = Desk(
            0.001, 0.002, 0.010, attempt_timeout_s=ATTEMPT_TIMEOUT_S, pending_max=PENDING_MAX
        )
        self.flying: list[Call] = []
        self.over: list[Call] = []
        """Calls of which the exchange should know nothing more."""
        self.due_at: dict[int, float] = {}
        self.binds: dict[int, WriteOp | None] = {}
        """By caller, the op as it was first sent."""
        self.maybe: set[int] = set()
        """Binds an attempt of which may have happened."""
        self.gone: set[int] = set()
        self.answering: set[int] = set()
        """Nodes whose present stream has carried an answer: no refusal of it is believed."""

    # --- what callers do -------------------------------------------------------------------------

    @rule(what=st.sampled_from(["bind", "create", "get"]), timeout_s=TIMEOUTS_S)
    def ask(self, what: str, timeout_s: float) -> None:
        full = self.desk.exchange.pending >= PENDING_MAX
        try:
            match what:
                case "bind":
                    caller = self.desk.bind(timeout=timeout_s)
                case "create":
                    caller = self.desk.create(timeout=timeout_s)
                case _:
                    caller = self.desk.get("k", timeout=timeout_s)
        except Overloaded:
            assert full
            return
        assert not full
        self.due_at[caller] = self.desk.now + timeout_s
        if what != "get":
            op = self.desk.tickets[caller].payload
            # The key of a create is not known before it is sent.
            self.binds[caller] = op if op.key else None
        self.look()

    @rule(choice=CHOICES)
    def abandon(self, choice: int) -> None:
        waiting = [caller for caller in self.due_at if caller not in self.desk.told]
        if waiting:
            caller = waiting[choice % len(waiting)]
            self.desk.abandon(caller)
            self.gone.add(caller)
            del self.due_at[caller]

    @rule(wait_s=st.sampled_from([0.0, 0.01, 0.11, ATTEMPT_TIMEOUT_S + GRACE_S, 1.0]))
    def wait(self, wait_s: float) -> None:
        self.desk.now += wait_s
        self.look()

    def look(self) -> None:
        """Poll, as the shell does after everything and whenever something is due."""
        self.poll()
        while (due := self.desk.exchange.next_due()) is not None and due <= self.desk.now:
            self.poll()

    def poll(self) -> None:
        before = self.under_way()
        told_before = set(self.desk.told)
        calls = self.desk.poll()
        under_way = self.desk.exchange.is_under_way
        for call in [c for c in self.flying if c.number is not None and not under_way(c)]:
            assert self.desk.now >= call.sent_at + call.timeout_s - 1e-9, "given up early"
            self.end(call)
            self.maybe |= before[id(call)] & set(self.binds)
        newly_told = set(self.desk.told) - told_before
        self.maybe |= newly_told & set().union(*before.values()) & set(self.binds)
        for call in calls:
            self.flying.append(call)
            if call.number is not None:
                sent = [ticket.waiter for ticket in (call.tickets or {}).values()]
                for caller, op in zip(sent, ops(call), strict=True):
                    sent_op = WriteOp(OpKind(op.kind), op.key, op.unit, op.version, op.sequence)
                    assert op.key
                    self.binds[caller] = self.binds[caller] or sent_op
                    assert sent_op == self.binds[caller], "a retry is another op"
                    assert caller not in self.gone and caller not in self.desk.told

    # --- what nodes do ---------------------------------------------------------------------------

    @rule(
        choice=CHOICES,
        answers=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(OUTCOMES)), max_size=4),
    )
    def answer_some(self, choice: int, answers: Sequence[tuple[int, pb.Outcome]]) -> None:
        streamed = [call for call in self.flying if call.number is not None]
        if not streamed:
            return
        call = streamed[choice % len(streamed)]
        waiting = dict(call.tickets or {})
        outcomes = {position: outcome for position, outcome in answers if position in waiting}
        for position, outcome in outcomes.items():
            if outcome.status == pb.OUTCOME_STATUS_UNKNOWN:
                self.maybe.add(waiting[position].waiter)
        self.answering.add(call.node)
        self.desk.answer_some(call, outcomes, retry_delay_ms=20)
        if not call.tickets:
            self.end(call)
        self.look()

    @rule(node=st.integers(0, len(ADDRESSES) - 1), failed=st.sampled_from(FAILURES))
    def break_stream(self, node: int, failed: Any) -> None:
        self.break_off(node, failed)
        self.look()

    def break_off(self, node: int, failed: Any) -> None:
        self._end_stream(node, failed.kind is FailureKind.UNKNOWN or node in self.answering)
        self.answering.discard(node)
        self.desk.break_stream(node, failed)

    @rule(node=st.integers(0, len(ADDRESSES) - 1))
    def speak_nonsense(self, node: int) -> None:
        waiting = self._end_stream(node, False)
        self.answering.add(node)
        self.desk.receive(node, b"\xff")
        for caller in waiting - self.gone:
            assert isinstance(self.desk.told[caller], GlobalTableError)
        self.look()

    def _end_stream(self, node: int, is_lost: bool) -> set[int]:
        """Who still waited for something on it."""
        waiting: set[int] = set()
        for call in [c for c in self.flying if c.number is not None and c.node == node]:
            waiting |= {t.waiter for t in (call.tickets or {}).values() if not t.done}
            self.end(call)
        if is_lost:
            self.maybe |= waiting
        return waiting

    @precondition(lambda self: self.over)
    @rule(choice=CHOICES, outcome=st.sampled_from(OUTCOMES))
    def answer_late(self, choice: int, outcome: pb.Outcome) -> None:
        """For a request that was given up, broken off or answered: it must not count."""
        before = dict(self.desk.told)
        pending = self.desk.exchange.pending
        call = self.over[choice % len(self.over)]
        self.answering.add(call.node)
        self.desk.answer_some(call, {0: outcome})
        assert self.desk.told == before and self.desk.exchange.pending == pending

    @rule(choice=CHOICES, failed=st.sampled_from([None, *FAILURES]))
    def land(self, choice: int, failed: Any) -> None:
        """A probe, a placement or a read, which travel in calls of their own."""
        unary = [call for call in self.flying if call.number is None]
        if not unary:
            return
        call = unary[choice % len(unary)]
        self.flying.remove(call)
        if failed is not None:
            self.desk.fail(call, failed)
        else:
            results = [pb.ReadResult()] * len(call.tickets or ())
            self.desk.answer_bytes(call, pb.ReadResponse(results=results).SerializeToString())
        self.look()

    # --- ends ------------------------------------------------------------------------------------

    def end(self, call: Call) -> None:
        self.flying.remove(call)
        self.over.append(call)

    def under_way(self) -> dict[int, set[int]]:
        """By call: those who wait for it and have not been told."""
        return {
            id(call): {t.waiter for t in (call.tickets or {}).values() if not t.done}
            for call in self.flying
        }

    @invariant()
    def bounds_are_kept(self) -> None:
        exchange = self.desk.exchange
        assert exchange.pending <= PENDING_MAX
        assert all(0 <= n <= lane.calls_max for (lane, _), n in exchange._calls._counts.items())
        carried = [t for call in self.flying for t in (call.tickets or {}).values() if not t.done]
        assert len(carried) == len(set(carried)), "a ticket is in two calls"

    @invariant()
    def everyone_is_told_in_time(self) -> None:
        for caller, due_at in self.due_at.items():
            if caller not in self.desk.told:
                assert self.desk.now < due_at + GRACE_S + 2 * BUCKET_S

    @invariant()
    def what_is_told_is_true(self) -> None:
        assert not self.gone & set(self.desk.told)
        for caller, told in self.desk.told.items():
            is_bind = caller in self.binds
            match told:
                case ProtocolError():
                    pass
                case OutcomeUnknown():
                    assert is_bind and caller in self.maybe
                case DeadlineExceeded():
                    assert not is_bind or caller not in self.maybe
                case Unavailable() | ClientClosed() | Rejected():
                    assert caller not in self.maybe

    def teardown(self) -> None:
        """Close the client, or let every call fail alike, or be silent: all are told."""
        if not hasattr(self, "desk"):
            return
        if self.ending == "closed":
            under_way: set[int] = set().union(*self.under_way().values())
            self.maybe |= under_way & set(self.binds)
            self.desk.close()
            assert self.desk.poll() == []
        else:
            self.let_end()
            require_nothing_held(self.desk.exchange)
        self.what_is_told_is_true()
        assert set(self.desk.told) | self.gone == set(range(len(self.desk.tickets)))

    def let_end(self) -> None:
        while self.desk.exchange.pending:
            self.fail_all()
            if self.desk.exchange.next_due() is not None:
                self.desk.wait()
            self.look()
        self.desk.now += 2 * (ATTEMPT_TIMEOUT_S + GRACE_S)
        self.look()
        self.fail_all()

    def fail_all(self) -> None:
        for call in [call for call in self.flying if call.number is None]:
            self.flying.remove(call)
            self.desk.fail(call, self.ending or LOST._replace(timed_out=True))
        if self.ending is not None:
            for node in {call.node for call in self.flying}:
                self.break_off(node, self.ending)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=80, stateful_step_count=40)
