"""What a failed attempt means, for the op and for the error its caller is told in the end.

Responsible for reading gRPC statuses and for the one rule that matters most here: **an op is told
"it did not happen" only if every attempt of it is known not to have happened.** Once an attempt
ended unknown, no later refusal makes it known again; only an outcome does, for a retry carries
the op's identity and is told the first outcome.

Knows nothing of nodes, queues and time.
"""

import enum
import random
from collections.abc import Iterable
from typing import Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from globaltable.errors import (
    Compacted,
    ConnectFailed,
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    Lagged,
    LimitExceeded,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    Rejected,
)
from globaltable.v1 import globaltable_pb2 as pb

DETAIL_KEY: Final = "globaltable-error-bin"
RETRY_DELAY_S_MAX: Final = 5.0
"""A node that asks for more patience than this is not believed."""

_BACKOFF_S_FIRST: Final = 0.02
_BACKOFF_S_MAX: Final = 1.0


class FailureKind(enum.Enum):
    """What became of one attempt."""

    UNREACHED = "no connection: it was never sent"
    NO_QUORUM = "the node said it did not happen: no leader or no majority"
    ELSEWHERE = "the node said it did not happen: another one holds its group"
    OVERLOADED = "the node said it did not happen: a queue is full"
    UNKNOWN = "it was sent, or may have been, and nothing certain came back"
    FINAL = "the node refused it, and so would every other"


_ASKED_NOBODY: Final = {FailureKind.UNREACHED, FailureKind.ELSEWHERE}


class Failure(NamedTuple):
    """One attempt that brought no outcome."""

    kind: FailureKind
    message: str
    retry_delay_s: float = 0.0
    error: GlobalTableError | None = None
    """Of a FINAL failure, what the caller is told."""
    timed_out: bool = False
    """The attempt ran out of time: what that says of the node depends on how much it had."""


# How gRPC words a call that found no connection to travel on. Anything else may have been sent.
_NEVER_SENT: Final = (
    "failed to connect to all addresses",
    "dns resolution failed",
    "errors resolving",
    "name resolution failure",
    # A function of the caller's own that was to give a token.
    "getting metadata from plugin failed",
)

# How gRPC's server words it that so many calls are under way that this one is not even looked at.
# What it says in the same code of an answer that is too large is worded otherwise.
_NO_ROOM: Final = "Concurrent RPC limit exceeded!"
_NO_ROOM_DELAY_S: Final = 0.2

_FINAL_CODES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.FAILED_PRECONDITION: Rejected,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: ProtocolError,
}


def read_detail(metadata: Iterable[tuple[str, str | bytes]] | None) -> pb.ErrorDetail | None:
    """The `ErrorDetail` of an error's trailers, if it has one."""
    for key, value in metadata or ():
        if key == DETAIL_KEY:
            data = value.encode() if isinstance(value, str) else value
            try:
                return pb.ErrorDetail.FromString(data)
            except DecodeError as error:
                raise ProtocolError(f"the node's error detail does not decode: {data!r}") from error
    return None


def failure_of(
    code: grpc.StatusCode | None,
    details: str | None,
    metadata: Iterable[tuple[str, str | bytes]] | None,
) -> Failure:
    """What a call that ended with a gRPC error means for every op it carried."""
    try:
        detail = read_detail(metadata)
    except ProtocolError as error:
        return Failure(FailureKind.FINAL, str(error), error=error)
    if detail is not None and detail.reason:
        return _of_detail(detail, details or "")
    message = f"{code.name if code is not None else 'no status'}: {details}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and details == _NO_ROOM:
        return Failure(FailureKind.OVERLOADED, message, _NO_ROOM_DELAY_S)
    if code in _FINAL_CODES:
        return Failure(FailureKind.FINAL, message, error=_FINAL_CODES[code](message))
    if code is grpc.StatusCode.UNAVAILABLE and (details or "").lower().startswith(_NEVER_SENT):
        return Failure(FailureKind.UNREACHED, message)
    # Without the node's own word nothing is certain, not even of RESOURCE_EXHAUSTED: gRPC also
    # says it of an answer that is too large, to a request that was carried out.
    return Failure(
        FailureKind.UNKNOWN, message, timed_out=code is grpc.StatusCode.DEADLINE_EXCEEDED
    )


def _of_detail(detail: pb.ErrorDetail, fallback: str) -> Failure:
    message = detail.message or fallback
    reason = detail.reason
    if reason == pb.ErrorDetail.REASON_OVERLOADED:
        delay_s = min(detail.retry_delay_ms / 1000, RETRY_DELAY_S_MAX)
        return Failure(FailureKind.OVERLOADED, message, delay_s)
    if reason == pb.ErrorDetail.REASON_NO_QUORUM:
        return Failure(FailureKind.NO_QUORUM, message)
    if reason == pb.ErrorDetail.REASON_ELSEWHERE:
        return Failure(FailureKind.ELSEWHERE, message)
    error: GlobalTableError
    oldest = {place.group: place.revision for place in detail.oldest}
    if reason == pb.ErrorDetail.REASON_COMPACTED:
        error = Compacted(message, oldest)
    elif reason == pb.ErrorDetail.REASON_LAGGED:
        error = Lagged(message, oldest)
    elif reason == pb.ErrorDetail.REASON_PERMISSION_DENIED:
        error = PermissionDenied(message)
    elif reason == pb.ErrorDetail.REASON_LIMIT_EXCEEDED:
        error = LimitExceeded(message)
    elif reason in (
        pb.ErrorDetail.REASON_INVALID_ARGUMENT,
        pb.ErrorDetail.REASON_UNKNOWN_TABLE,
    ):
        error = InvalidArgument(message)
    else:
        error = ProtocolError(f"the node sent an error of unknown reason {reason}: {message}")
    return Failure(FailureKind.FINAL, message, error=error)


def backoff_s(rounds: int, chance: random.Random) -> float:
    """How long to wait after the `rounds`-th round (1, 2, …) of failed attempts."""
    ceiling = min(_BACKOFF_S_MAX, _BACKOFF_S_FIRST * 2.0 ** min(rounds - 1, 16))
    return ceiling * chance.uniform(0.5, 1.0)


class Attempts:
    """What the attempts of one op have come to. Made at the first failure: most ops have none."""

    __slots__ = ("_seen", "count", "last_message", "maybe_happened", "retry_delay_s", "rounds")

    def __init__(self) -> None:
        self.count = 0
        self.rounds = 0
        self.maybe_happened = False
        self.retry_delay_s = 0.0
        self.last_message = ""
        self._seen: set[FailureKind] = set()

    def record(self, failure: Failure) -> None:
        """An attempt failed."""
        self.count += 1
        self.last_message = failure.message
        self._seen.add(failure.kind)
        if failure.kind is FailureKind.UNKNOWN:
            self.maybe_happened = True
        elif failure.kind is FailureKind.OVERLOADED:
            self.retry_delay_s = failure.retry_delay_s

    def final_error(self, failure: Failure, subject: str, idempotent: bool) -> GlobalTableError:
        """What to tell of an op that was refused for good."""
        assert failure.error is not None, failure
        if self.maybe_happened and not idempotent and isinstance(failure.error, Rejected):
            error = OutcomeUnknown(
                f"{subject}: a retry was refused ({failure.message}) after an earlier attempt "
                "may have happened; a linearizable get tells"
            )
            error.__cause__ = failure.error
            return error
        # One error may end many ops, and each caller's traceback is its own.
        return _copied(failure.error)

    def deadline_error(self, subject: str, idempotent: bool, in_flight: bool) -> GlobalTableError:
        """The most telling error for an op whose deadline has passed."""
        if not idempotent and (self.maybe_happened or in_flight):
            return OutcomeUnknown(
                f"{subject}: the deadline passed and it may have happened"
                f"{self._story()}; a linearizable get tells"
            )
        story = self._story()
        if FailureKind.NO_QUORUM in self._seen:
            return NoQuorum(f"{subject}: no leader with a majority was found in time{story}")
        if FailureKind.OVERLOADED in self._seen:
            return Overloaded(f"{subject}: refused, a queue is full{story}", self.retry_delay_s)
        if self._seen and self._seen <= _ASKED_NOBODY and not in_flight:
            holds = " that holds it" if FailureKind.ELSEWHERE in self._seen else ""
            return ConnectFailed(f"{subject}: no node{holds} could be reached{story}")
        return DeadlineExceeded(f"{subject}: the deadline passed{story}")

    def turn_error(self, subject: str, idempotent: bool) -> GlobalTableError:
        """What to tell of an op whose turn comes too late for an answer, and is not sent."""
        if self.maybe_happened and not idempotent:
            return self.deadline_error(subject, idempotent, False)
        return Overloaded(
            f"{subject}: it has waited in this client for its turn, and the node is too busy to "
            f"answer before the deadline{self._story()}",
            self.retry_delay_s,
        )

    def connect_error(self, subject: str) -> ConnectFailed:
        """What to tell of a client that found no node to begin with."""
        return ConnectFailed(f"{subject}: no node answered in time{self._story()}")

    def closed_error(
        self, subject: str, idempotent: bool, in_flight: bool
    ) -> OutcomeUnknown | None:
        """What to tell of an op that a closing client gives up; None if it did not happen."""
        if idempotent or not (self.maybe_happened or in_flight):
            return None
        return OutcomeUnknown(
            f"{subject}: the client was closed while it was under way, so it may have happened"
        )

    def _story(self) -> str:
        if not self.count:
            return ""
        noun = "attempt" if self.count == 1 else "attempts"
        return f" after {self.count} failed {noun}, the last: {self.last_message}"


def _copied(error: GlobalTableError) -> GlobalTableError:
    twin = error.__class__.__new__(error.__class__)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin
