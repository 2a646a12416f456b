"""The loop that turns the core: begin, persist, complete, carry out, and when to do so again.

It is the contract of `core` written down once. The node runs it on an event loop, over sockets, a
disk and threads; the simulator runs the same code on simulated time. Callers' ops and reads are
submitted here; whatever else comes is handed to the core by who receives it, followed by `wake`.

Invariants: no frame is sent and nobody told before the turn that it rests on is durable; turns are
persisted in the order in which they were begun; after a failure no further turn is begun, and none
completes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from globaltable.errors import NoQuorum, StorageError
from globaltable.model import Op, Outcome, OutcomeStatus
from globaltable.proposals import Settled
from globaltable.server.core import NodeCore
from globaltable.server.effects import Effects, FlushJob, GroupJob, ReplicaFailure, Turn
from globaltable.server.measures import Measures, Ticket, Told
from globaltable.server.watches import Watches
from globaltable.slot_steps import Step

__all__ = ["Clock", "Driver", "JobWorker", "Told", "TurnWriter", "tell"]

_OVERLOADED: Final = Outcome(OutcomeStatus.OVERLOADED, None, "the group's queue is full")


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """What a driver needs of an event loop; asyncio's is one."""

    def time(self) -> float: ...

    def call_soon(self, callback: Callable[[], None], /) -> object: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Cancellable: ...


class TurnWriter(Protocol):
    """Makes turns durable, in order, and calls `Driver.persisted` with them."""

    def submit(self, turn: Turn) -> None: ...


class JobWorker(Protocol):
    """Carries out jobs on the table, in order; their results go back to the core."""

    def submit(self, job: GroupJob | FlushJob) -> None: ...

    def sweep(self) -> None: ...

    def forget(self, group: int) -> None:
        """Its replica is out of service."""
        ...


class Driver:
    """Turns `core`. Whoever owns it calls `attach` before the first `wake`."""

    def __init__(
        self,
        *,
        core: NodeCore,
        clock: Clock,
        send: Callable[[str, bytes], object],
        watches: Watches,
        on_out_of_service: Callable[[ReplicaFailure], None],
        on_failure: Callable[[BaseException], None],
        on_removed: Callable[[int], None] | None = None,
        measures: Measures | None = None,
    ) -> None:
        """`send` takes a peer and a frame for it. `on_out_of_service` hears of each replica that
        has stopped, once; `on_removed` of each group that has removed its replica here;
        `on_failure` of what nobody foresaw, after which nothing is begun."""
        self._core = core
        self._clock = clock
        self._send = send
        self._watches = watches
        self._on_out_of_service = on_out_of_service
        self._on_failure = on_failure
        self._on_removed = on_removed
        self._measures = measures
        self._writer: TurnWriter
        self._worker: JobWorker
        self._turn_is_due = False
        self._timer: Cancellable | None = None
        self._timer_at: float | None = None
        self._reached = clock.time()
        """The time that a timer has said has come. An event loop may say so a moment before its
        clock does (uvloop's counts whole milliseconds), and would say so again and again."""
        self._stopped = False

    @property
    def measures(self) -> Measures | None:
        return self._measures

    def attach(self, writer: TurnWriter, worker: JobWorker) -> None:
        """They report to this driver, so they are made after it."""
        self._writer, self._worker = writer, worker

    def submit(self, ops: Sequence[Op], deadline: float, told: Told) -> None:
        """Have ops of any groups applied, and `told` of each, perhaps before this returns."""
        by_group: dict[int, list[int]] = {}
        groups = self._core.routes.groups_of([op.name for op in ops])
        for position, group in enumerate(groups):
            by_group.setdefault(group, []).append(position)
        for group, positions in by_group.items():
            own = [ops[position] for position in positions]
            refused = self._submit_to(group, own, told, positions, deadline)
            if refused is not None:
                if self._measures is not None:
                    self._measures.refused(own, refused.status)
                told(positions, [refused] * len(positions))
        self.wake()

    def submit_read(self, group: int, deadline: float, told: Told) -> None:
        """Have a reader wait at a group's barrier: told of no outcome if it may pass, and of one
        that says why if not."""
        refused = self._submit_to(group, (), told, (), deadline)
        if refused is not None:
            told((), (refused,))
        self.wake()

    def submit_step(self, group: int, step: Step, deadline: float, told: Told) -> None:
        """Have a group take a step of a slot's move; `told` of one outcome
        (`Replica.submit_step`)."""
        refused = self._refusal(group)
        ticket = Ticket(told, (0,), group, (), self._now)
        if refused is None and not self._core.submit_step(group, step, ticket, deadline):
            refused = _OVERLOADED
        if refused is not None:
            told((0,), (refused,))
        self.wake()

    def _refusal(self, group: int) -> Outcome | None:
        refusal = self._core.refusal(group)
        if not refusal:
            return None
        if self._core.holds(group):
            return Outcome(OutcomeStatus.UNAVAILABLE, None, refusal)
        return Outcome(OutcomeStatus.ELSEWHERE, None, refusal, group)

    def _submit_to(
        self, group: int, ops: Sequence[Op], told: Told, positions: Sequence[int], deadline: float
    ) -> Outcome | None:
        refused = self._refusal(group)
        if refused is not None:
            return refused
        ticket = Ticket(told, positions, group, ops, self._now)
        return None if self._core.submit(group, ops, ticket, deadline) else _OVERLOADED

    @property
    def _now(self) -> float:
        return self._measures.now() if self._measures is not None else 0.0

    def met_damage(self, group: int, error: StorageError) -> NoQuorum:
        """A record that proves damaged as it is read puts the group's replica out of service. What
        to tell who asked for it."""
        self._core.fail(group, error)
        self.wake()
        return NoQuorum(self._core.refusal(group))

    def wake(self) -> None:
        """Something has come: a turn is due, after what else comes in this pass of the loop."""
        if not self._turn_is_due and not self._stopped:
            self._turn_is_due = True
            self._clock.call_soon(self._begin)

    def stop(self) -> None:
        """Begin no further turn. Those that were begun may still complete."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._turn_is_due = False
        if self._stopped:
            return
        measures = self._measures
        began = measures.now() if measures is not None else 0.0
        try:
            turn = self._core.begin(max(self._clock.time(), self._reached))
            if measures is not None and turn.effects.sealed:
                measures.sealed(turn.effects.sealed)
            if turn.persisting or turn.discards:
                if measures is not None:
                    measures.persist_begun()
                self._writer.submit(turn)
            self._carry_out(turn.effects, began)
            self._wake_for_next()
        except Exception as error:
            self._fail(error)

    def persisted(self, turns: Sequence[Turn]) -> None:
        """The turns are durable, and all before them."""
        began = 0.0
        if self._measures is not None:
            self._measures.persisted(len(turns))
            began = self._measures.now()
        try:
            self._carry_out(self._core.complete(turns), began)
            self._wake_for_next()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """A turn that was carried out in part cannot be gone on from."""
        self.stop()
        self._on_failure(error)

    def _wake_for_next(self) -> None:
        if self._core.has_work:
            self.wake()
        due_at = self._core.next_tick
        if due_at != self._timer_at and not self._stopped:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due_at
            self._timer = self._clock.call_at(due_at, self._tick_is_due)

    def _tick_is_due(self) -> None:
        assert self._timer_at is not None, "a timer that was not set"
        self._reached = self._timer_at
        self._timer_at = None
        self.wake()

    def _carry_out(self, effects: Effects, began: float) -> None:
        for peer, frame in effects.frames:
            self._send(peer, frame)
        for group in effects.jumped:
            self._watches.jumped(group)
            self._worker.sweep()
        for group, slots in effects.moved:
            self._watches.moved(group, slots)
        for group, changed in effects.changed:
            self._watches.publish(group, changed)
        if self._measures is not None and effects.settled:
            self._measures.ended(effects.settled)
        tell(effects.settled)
        if self._measures is not None and effects.changed:
            self._measures.applied(began)
        for job in effects.jobs:
            self._worker.submit(job)
        if effects.removed:
            self._watches.wake_all()
            if self._on_removed is not None:
                for group in effects.removed:
                    self._on_removed(group)
        if self._core.new_failures:
            for failure in self._core.new_failures:
                self._on_out_of_service(failure)
                self._worker.forget(failure.group)
            self._core.new_failures.clear()
            self._watches.wake_all()


def tell(settled: Iterable[Settled]) -> None:
    """A ticket knows whom to tell, and of what."""
    ticket: Ticket
    for ticket, outcomes in settled:
        ticket.told(ticket.positions, outcomes)
