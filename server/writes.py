"""Writes: requests are handed to the node, and answered, whole or in parts.

Over a stream the ops of a request are answered together if they are decided at about the same time,
for messages cost more than ops; but none waits long for the slowest group of its request.

Invariant: while `STREAM_OPS_MAX` ops of a stream are under way or unsent, no more of it is read; so
who sends more is held up by the stream's own flow control.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from globaltable import limits
from globaltable.errors import InvalidArgument
from globaltable.model import Op, Outcome, OutcomeStatus
from globaltable.server.admission import admit
from globaltable.server.callers import CALLER
from globaltable.server.driver import Told
from globaltable.server.ops import (
    OpColumns,
    check,
    columns_of_stream,
    columns_of_write,
    outcome_message,
    part_message,
    refusal_of,
    require_table,
)
from globaltable.server.requests import Request, Requests
from globaltable.v1 import globaltable_pb2 as pb

RETRY_DELAY_MS: Final = 50
STREAM_OPS_MAX: Final = 4 * limits.WRITE_OPS_MAX
PART_DELAY_S: Final = 0.05
"""How long a decided op waits for the others of its request, to be answered in one message."""

_Part = tuple[int, Sequence[int], Sequence[Outcome]]
"""The number of a request, positions in it, and how the ops there ended."""

_STOPPING: Final = Outcome(OutcomeStatus.UNAVAILABLE, None, "this node is stopping")


class WriteBackend(Protocol):
    """What writes ask of the node."""

    @property
    def tables(self) -> Sequence[str]: ...

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None:
        """Have ops applied, and `told` of each, perhaps before this returns."""
        ...


def submit(backend: WriteBackend, columns: OpColumns, timeout_s: float | None, told: Told) -> None:
    """Submit the good ops of a request, and tell of the bad ones at once."""
    ops, positions, refused = check(columns)
    for position, error in refused:
        told([position], [refusal_of(error)])
    if not refused:
        backend.submit(ops, timeout_s, told)
    elif ops:
        backend.submit(
            ops,
            timeout_s,
            lambda some, outcomes: told([positions[place] for place in some], outcomes),
        )


async def write(
    backend: WriteBackend,
    request: pb.WriteRequest,
    timeout_s: float | None,
    note: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
) -> pb.WriteResponse:
    """All ops of a request, answered together; `note` is told of the outcomes, too."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    outcomes: list[Outcome | None] = [None] * len(request.ops)
    remaining = len(outcomes)

    def told(positions: Sequence[int], some: Sequence[Outcome]) -> None:
        nonlocal remaining
        for position, outcome in zip(positions, some, strict=True):
            outcomes[position] = outcome
        note(some)
        remaining -= len(positions)
        if remaining == 0 and not done.done():
            done.set_result(None)

    retry_delay_ms = RETRY_DELAY_MS
    if outcomes:
        columns = columns_of_write(request)
        to_tell: Told = told
        caller = CALLER.get()
        if caller is not None:
            now_s = asyncio.get_running_loop().time()
            columns, to_tell, delay_s = admit(caller, columns, told, now_s)
            retry_delay_ms = max(RETRY_DELAY_MS, math.ceil(delay_s * 1_000))
        if columns.ops:
            submit(backend, columns, timeout_s, to_tell)
        await done
    response = pb.WriteResponse()
    for outcome in outcomes:
        assert outcome is not None, "every op has been told of"
        if outcome.status is OutcomeStatus.OVERLOADED:
            response.retry_delay_ms = retry_delay_ms
        response.outcomes.append(outcome_message(outcome))
    return response


class _Request:
    """A request of a stream, and how many of its ops are undecided."""

    __slots__ = ("number", "seen", "undecided")

    def __init__(self, number: int, ops: int) -> None:
        self.number = number
        self.undecided = ops
        self.seen: Request | None = None
        """What is noted of it, of a table that there is."""


class WriteStream:
    """One caller's stream: requests are read while earlier ones are under way."""

    def __init__(
        self, backend: WriteBackend, requests: Requests | None = None, address: str = ""
    ) -> None:
        self._backend = backend
        self._requests = requests
        self._address = address
        self._caller = CALLER.get()
        self._retry_delay_ms = RETRY_DELAY_MS
        self._unsent: list[_Part] = []
        self._ops = 0
        """Under way or unsent."""
        self._awake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._read_all = False
        self._draining = False

    def drain(self) -> None:
        """Begin nothing more, and end once all that is under way has been answered."""
        self._draining = True
        self._awake.set()

    async def read(self, requests: AsyncIterator[pb.WriteStreamRequest]) -> None:
        """Take requests until there are no more. Raises `InvalidArgument` at one of too many ops:
        of it and what follows nothing is begun."""
        try:
            async for request in requests:
                self._take(request)
                await self._room.wait()
        finally:
            self._read_all = True
            self._awake.set()

    def _take(self, request: pb.WriteStreamRequest) -> None:
        # What is wrong with a request as a whole ends the stream. To answer each op would not do:
        # of ops so small that millions fit in, answers would be many times as large.
        columns = columns_of_stream(request)
        if not columns.ops:
            return
        self._ops += columns.ops
        if self._ops >= STREAM_OPS_MAX:
            self._room.clear()
        own = _Request(request.number, columns.ops)
        told: Told = partial(self._told, own)
        whole = range(columns.ops)
        try:
            require_table(columns.table, self._backend.tables)
        except InvalidArgument as error:
            told(whole, [refusal_of(error)] * columns.ops)
            return
        if self._draining:
            told(whole, [_STOPPING] * columns.ops)
            return
        if self._requests is not None:
            own.seen = self._requests.begin(
                "WriteStream", columns.table, columns.ops, self._address
            )
            if request.traceparents and self._requests.tracing is not None:
                told = self._requests.tracing.begin(request, told)
        if self._caller is not None:
            columns, told, delay_s = admit(self._caller, columns, told, self._loop.time())
            self._retry_delay_ms = max(self._retry_delay_ms, math.ceil(delay_s * 1_000))
            if not columns.ops:
                return
        submit(self._backend, columns, request.timeout_ms / 1000 or None, told)

    def _told(
        self, request: _Request, positions: Sequence[int], outcomes: Sequence[Outcome]
    ) -> None:
        self._unsent.append((request.number, positions, outcomes))
        request.undecided -= len(positions)
        if request.seen is not None:
            request.seen.told(outcomes)
            if request.undecided == 0:
                request.seen.end()
        if request.undecided == 0:
            self._awake.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(PART_DELAY_S, self._awake.set)

    async def answers(self) -> AsyncIterator[pb.WriteStreamResponse]:
        """What has been decided since the last look, until the stream is over."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            unsent, self._unsent = self._unsent, []
            retry_delay_ms, self._retry_delay_ms = self._retry_delay_ms, RETRY_DELAY_MS
            for ops, parts in _messages(unsent):
                yield stream_response(parts, retry_delay_ms)
                self._ops -= ops
                if self._ops < STREAM_OPS_MAX:
                    self._room.set()
            if (self._read_all or self._draining) and not self._ops:
                return


def _messages(parts: Sequence[_Part]) -> Iterator[tuple[int, Sequence[_Part]]]:
    """Parts that go into one message, and how many ops they have: no more than a request may have,
    for what they are told may be long, and a message that is too large would end the stream."""
    message: list[_Part] = []
    ops = 0
    for part in parts:
        more = len(part[1])
        if message and ops + more > limits.WRITE_OPS_MAX:
            yield ops, message
            message, ops = [], 0
        message.append(part)
        ops += more
    if message:
        yield ops, message


def stream_response(
    parts: Sequence[_Part], retry_delay_ms: int = RETRY_DELAY_MS
) -> pb.WriteStreamResponse:
    response = pb.WriteStreamResponse()
    for number, positions, outcomes in parts:
        part = part_message(number, positions, outcomes)
        response.parts.append(part)
        if any(outcome.status is OutcomeStatus.OVERLOADED for outcome in outcomes):
            response.retry_delay_ms = retry_delay_ms
    return response
