"""Notes what clients do and are told, while they do it.

Responsible for reading the clock on the right side of a call, and for what an error says of the
op: the one place where the types of `globaltable.errors` are taken at their word.

Invariant: everything that began is in the history, also what never ended. May be used from any
number of tasks and threads at once.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from globaltable.client import ClientClosed
from globaltable.errors import (
    DeadlineExceeded,
    NotBound,
    OutcomeUnknown,
    Rejected,
    Unavailable,
    VersionConflict,
)
from globaltable.model import Binding
from tests.faults.history import Ending, Event, Kind

_EXPECTED: Final = (Rejected, Unavailable, DeadlineExceeded, ClientClosed)
"""Endings like any other; what else is raised is recorded, and goes on to the caller."""


def ending_of(error: BaseException) -> Ending:
    """What an error says of the op. The order matters: `OutcomeUnknown` is a `DeadlineExceeded`."""
    match error:
        case NotBound():
            return Ending.NOT_BOUND
        case VersionConflict():
            return Ending.CONFLICT
        case OutcomeUnknown():
            return Ending.UNKNOWN
        case Rejected() | Unavailable() | DeadlineExceeded() | ClientClosed():
            return Ending.FAILED
        case _:
            # Cancelled, say, or an answer that makes no sense: it may have happened.
            return Ending.UNKNOWN


class Recorder:
    """The history of one run."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._ended: list[Event] = []
        self._open: set[Call] = set()

    def call(
        self,
        client: str,
        kind: Kind,
        key: str,
        *,
        unit: str = "",
        version: int = 0,
        replica: Callable[[], str] = lambda: "",
    ) -> "Call":
        """One op, which begins on entry. Errors that are an answer end it and are not raised::

            with recorder.call("a/1", Kind.BIND, "cid:1", unit="A") as call:
                call.answered(await sessions.bind("cid:1", unit="A"))

        `replica` names who answers, in which life; it counts only if it says the same at the end.
        """
        return Call(self, Event(client, kind, key, unit, version, 0), replica)

    def begun(self, call: "Call") -> None:
        with self._lock:
            self._open.add(call)

    def ended(self, call: "Call") -> None:
        with self._lock:
            self._open.discard(call)
            self._ended.append(call.event)

    def history(self) -> list[Event]:
        """All that has begun so far, by invocation; what has not ended has `returned=None`."""
        with self._lock:
            events = [*self._ended, *(call.event for call in self._open)]
        return sorted(events, key=lambda event: event.invoked)


class Call:
    """An op under way: its caller leaves the result here."""

    def __init__(self, recorder: Recorder, asked: Event, replica: Callable[[], str]) -> None:
        self.event = asked
        """Complete once the call has ended."""
        self._recorder = recorder
        self._replica = replica
        self._served_by = ""
        self._told: Binding | None = None
        self._answered = False

    def answered(self, result: Binding | None) -> None:
        """The op was answered: with a binding, or with None if that is the answer."""
        self._told = result
        self._answered = True

    def __enter__(self) -> Self:
        self._served_by = self._replica()
        self.event = self.event._replace(invoked=self._recorder.clock())
        self._recorder.begun(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        now = self._recorder.clock()
        if error is None:
            assert self._answered, f"{self.event} ended without an answer or an error"
            ending, told = Ending.OK, self._told
        else:
            ending = ending_of(error)
            told = error.current if isinstance(error, VersionConflict) else None
        self.event = self.event._replace(
            ending=ending,
            told=told,
            returned=now,
            replica=self._served_by if self._replica() == self._served_by else "",
            error=type(error).__name__ if error is not None else "",
        )
        self._recorder.ended(self)
        return isinstance(error, _EXPECTED)
