"""What travels together: tickets of one kind, how they are packed and how their answer is read.

Responsible for the encodings of each method of the service. A *ticket* is one thing a caller
waits for; a lane packs the tickets that wait into one request, and reads one answer for each out
of the response. An answer is a value, an error to raise, or a `Failure` of this attempt.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from globaltable import limits
from globaltable.client._attempts import RETRY_DELAY_S_MAX, Attempts, Failure, FailureKind
from globaltable.client._routes import ANY, Routes
from globaltable.client._scanning import ScanProgress
from globaltable.client.values import Status, read_binding, read_status
from globaltable.errors import (
    GlobalTableError,
    InvalidArgument,
    NotBound,
    PermissionDenied,
    ProtocolError,
    VersionConflict,
)
from globaltable.model import Binding, OpKind
from globaltable.v1 import globaltable_pb2 as pb

_SERVICE: Final = "/globaltable.v1.GlobalTableService/"

T = TypeVar("T")


def methods_of(channel: Any) -> dict[str, Any]:
    """The methods that are called, by name. Requests and answers cross as bytes: encoding them is
    the lanes'."""
    methods = {
        name: channel.unary_unary(_SERVICE + name, None, None)
        for name in ("Read", "Scan", "Status", "Topology", "Placement")
    }
    methods["WriteStream"] = channel.stream_stream(_SERVICE + "WriteStream", None, None)
    methods["Watch"] = channel.unary_stream(_SERVICE + "Watch", None, None)
    return methods


class Ticket(Generic[T]):
    """One thing a caller waits for, and what has become of it so far."""

    __slots__ = (
        "attempts",
        "avoided",
        "bucket",
        "calls",
        "deadline",
        "done",
        "in_grace",
        "lane",
        "payload",
        "pinned",
        "queue",
        "route",
        "waiter",
        "weight",
    )

    def __init__(
        self,
        lane: "Lane",
        payload: Any,
        timeout_s: float | None,
        weight: int = 1,
        pinned: int | None = None,
    ) -> None:
        self.lane = lane
        self.payload = payload
        self.weight = weight
        self.pinned = pinned
        """The only node to be asked; None for any."""
        self.deadline = timeout_s if timeout_s is not None else float("inf")
        """How long it may take; from submission on, when it must have ended."""
        self.waiter: Any = None
        """The shell's own: what is told the result."""
        self.attempts: Attempts | None = None
        self.avoided = 0
        """The nodes that have failed it in this round."""
        self.calls = 0
        """The calls that carry it now: 0 or 1."""
        self.route = ANY
        """The nodes that hold what it asks for."""
        self.queue: OrderedDict[AnyTicket, None] | None = None
        """Where it waits to be sent, or has last."""
        self.done = False
        self.in_grace = False
        self.bucket = 0

    @property
    def subject(self) -> str:
        """What was asked, for error messages."""
        return self.lane.subject(self.payload)


AnyTicket = Ticket[Any]


class Lane:
    """One kind of request."""

    method: ClassVar[str]
    idempotent: ClassVar[bool] = True
    weight_max: ClassVar[int] = 1
    calls_max: ClassVar[int] = 16
    """Calls under way to one node at a time; what arrives meanwhile is packed together."""

    def subject(self, payload: Any) -> str:
        """What was asked, in words."""
        raise NotImplementedError

    def route(self, payload: Any, routes: Routes) -> int | None:
        """The nodes that hold what is asked for; None if no node holds all of it."""
        return ANY

    def request(self, payloads: Iterable[Any]) -> bytes:
        """The request that carries all of these."""
        raise NotImplementedError

    def answers(self, tickets: Sequence[Ticket[Any]], data: bytes) -> Iterable[Any]:
        """One answer for each ticket, in order. Raises ProtocolError, DecodeError."""
        raise NotImplementedError

    def read(self, tickets: Sequence[Ticket[Any]], data: bytes) -> list[Any]:
        """One answer for each ticket; of a response that makes no sense, the same error for all."""
        try:
            return list(self.answers(tickets, data))
        except DecodeError:
            message = f"the node's answer to {self.method} does not decode ({len(data)} bytes)"
            return [ProtocolError(message) for _ in tickets]
        except ProtocolError as error:
            return [ProtocolError(str(error)) for _ in tickets]


_VERBS: Final = {OpKind.BIND: "bind", OpKind.MOVE: "move", OpKind.UNBIND: "unbind"}


class WriteOp(NamedTuple):
    """What one caller asks for. `sequence` is its identity within its client."""

    kind: OpKind
    key: str
    unit: str
    """Empty for an unbind."""
    version: int
    """0 for a bind."""
    sequence: int
    traceparent: str = ""
    """The context of its span, if it has one that is recorded."""

    @property
    def verb(self) -> str:
        return _VERBS[self.kind]


class WriteLane(Lane):
    """Ops, over a stream. A payload is a `WriteOp`; its identity goes with it into every attempt.

    Many requests are under way on one stream, each with a number of its own, and an op is answered
    as soon as it is decided: in a part of its request's answer.
    """

    method = "WriteStream"
    idempotent = False
    weight_max = limits.WRITE_OPS_MAX
    calls_max = 1_024

    def __init__(self, table: str, client_id: int) -> None:
        self._table = table
        self._client_id = client_id

    def subject(self, payload: WriteOp) -> str:
        return f"{payload.verb} of {payload.key!r}"

    def route(self, payload: WriteOp, routes: Routes) -> int:
        return routes.of_key(payload.key)

    def numbered_request(self, number: int, payloads: Iterable[WriteOp], timeout_s: float) -> bytes:
        """The request that carries all of these; the node gives them up after `timeout_s`."""
        kinds, keys, units, versions, sequences, traces = zip(*payloads, strict=True)
        return pb.WriteStreamRequest(
            number=number,
            timeout_ms=min(max(1, round(timeout_s * 1000)), 2**32 - 1),
            table=self._table,
            client_id=self._client_id,
            kinds=kinds,
            keys=keys,
            units=units,
            versions=versions if any(versions) else (),
            sequences=sequences,
            traceparents=traces if any(traces) else (),
        ).SerializeToString()


class WriteOutcome(NamedTuple):
    """How the node says that one op ended: the columns of `pb.WritePart`, one value of each."""

    status: int
    unit: str
    version: int
    revision: int
    detail: str

    def binding(self, created: bool = False) -> Binding:
        """The binding that it must hold. Raises ProtocolError."""
        if not self.unit or not self.version:
            raise ProtocolError(
                f"the node sent a binding to unit {self.unit!r} at version {self.version}"
            )
        return Binding(self.unit, self.version, self.revision, created)


class WritePart(NamedTuple):
    """How some ops of a request ended."""

    number: int
    positions: Sequence[int]
    outcomes: Sequence[WriteOutcome]
    retry_delay_s: float


def read_parts(data: bytes) -> list[WritePart]:
    """The parts of a message of the stream. Raises ProtocolError."""
    try:
        response = pb.WriteStreamResponse.FromString(data)
    except DecodeError as error:
        message = f"the node's answer on a write stream does not decode ({len(data)} bytes)"
        raise ProtocolError(message) from error
    retry_delay_s = min(response.retry_delay_ms / 1000, RETRY_DELAY_S_MAX)
    return [_read_part(part, retry_delay_s) for part in response.parts]


def _read_part(part: pb.WritePart, retry_delay_s: float) -> WritePart:
    positions = list(part.positions)
    columns = [
        _column("statuses", part.statuses, positions, 0),
        _column("units", part.units, positions, ""),
        _column("versions", part.versions, positions, 0),
        _column("revisions", part.revisions, positions, 0),
        _column("details", part.details, positions, ""),
    ]
    outcomes = list(map(WriteOutcome._make, zip(*columns, strict=True)))
    return WritePart(part.number, positions, outcomes, retry_delay_s)


def _column(
    name: str, column: Sequence[Any], positions: Sequence[int], nothing: Any
) -> Sequence[Any]:
    if not column:
        return [nothing] * len(positions)
    if len(column) != len(positions):
        raise ProtocolError(f"the node sent {len(column)} {name} for {len(positions)} ops")
    return list(column)


def read_outcome(
    op: WriteOp, outcome: WriteOutcome, retry_delay_s: float
) -> Binding | GlobalTableError | Failure | None:
    """What an outcome means for the op: a value, an error to raise, or a failed attempt."""
    status, kind = outcome.status, op.kind
    try:
        if status == pb.OUTCOME_STATUS_APPLIED:
            if kind is OpKind.UNBIND:
                return None
            return outcome.binding(created=kind is OpKind.BIND)
        if status == pb.OUTCOME_STATUS_EXISTS and kind is OpKind.BIND:
            return outcome.binding()
        if status == pb.OUTCOME_STATUS_VERSION_CONFLICT and kind is not OpKind.BIND:
            return VersionConflict(op.key, op.version, outcome.binding())
    except ProtocolError as error:
        return error
    if status == pb.OUTCOME_STATUS_NOT_BOUND and kind is not OpKind.BIND:
        return NotBound(op.key)
    if status == pb.OUTCOME_STATUS_INVALID_ARGUMENT:
        message = f"{op.verb} of {op.key!r} was refused: {outcome.detail}"
        return Failure(FailureKind.FINAL, message, error=InvalidArgument(message))
    if status == pb.OUTCOME_STATUS_PERMISSION_DENIED:
        message = f"{op.verb} of {op.key!r} was refused: {outcome.detail}"
        return Failure(FailureKind.FINAL, message, error=PermissionDenied(message))
    if status == pb.OUTCOME_STATUS_UNAVAILABLE:
        return Failure(FailureKind.NO_QUORUM, outcome.detail or "UNAVAILABLE")
    if status == pb.OUTCOME_STATUS_ELSEWHERE:
        return Failure(FailureKind.ELSEWHERE, outcome.detail or "ELSEWHERE")
    if status == pb.OUTCOME_STATUS_OVERLOADED:
        return Failure(FailureKind.OVERLOADED, outcome.detail or "OVERLOADED", retry_delay_s)
    if status == pb.OUTCOME_STATUS_UNKNOWN:
        return Failure(FailureKind.UNKNOWN, outcome.detail or "UNKNOWN")
    return ProtocolError(f"the node sent outcome status {status} for a {op.verb}")


class ReadLane(Lane):
    """Reads. A payload is a sequence of keys, and its answer a list of `Binding | None`."""

    method = "Read"
    weight_max = limits.READ_KEYS_MAX

    def __init__(self, table: str, linearizable: bool) -> None:
        self._table = table
        self._linearizable = linearizable

    def subject(self, payload: Sequence[str]) -> str:
        return f"get of {payload[0]!r}" if len(payload) == 1 else f"get of {len(payload)} keys"

    def route(self, payload: Sequence[str], routes: Routes) -> int | None:
        if routes.only is not None or len(payload) == 1:
            return routes.of_key(payload[0])
        several = routes.of_keys(payload)
        return next(iter(several)) if len(several) == 1 else None

    def request(self, payloads: Iterable[Sequence[str]]) -> bytes:
        return pb.ReadRequest(
            table=self._table,
            keys=[key for keys in payloads for key in keys],
            linearizable=self._linearizable,
        ).SerializeToString()

    def answers(self, tickets: Sequence[Ticket[Any]], data: bytes) -> Iterable[Any]:
        results = pb.ReadResponse.FromString(data).results
        keys = sum(ticket.weight for ticket in tickets)
        if len(results) != keys:
            raise ProtocolError(f"the node sent {len(results)} results for {keys} keys")
        bindings = [
            read_binding(result.binding) if result.HasField("binding") else None
            for result in results
        ]
        answers: list[list[Binding | None]] = []
        start = 0
        for ticket in tickets:
            answers.append(bindings[start : start + ticket.weight])
            start += ticket.weight
        return answers


ScanPage = list[tuple[str, Binding]]


class ScanLane(Lane):
    """Pages of scans, one in a request. A payload is a `ScanProgress`; the answer moves it on."""

    method = "Scan"

    def subject(self, payload: ScanProgress) -> str:
        return payload.subject

    def route(self, payload: ScanProgress, routes: Routes) -> int:
        return payload.route(routes)

    def request(self, payloads: Iterable[ScanProgress]) -> bytes:
        (progress,) = payloads
        return progress.request()

    def answers(self, tickets: Sequence[Ticket[Any]], data: bytes) -> Iterable[ScanPage]:
        (ticket,) = tickets
        response = pb.ScanResponse.FromString(data)
        entries = [(entry.key, read_binding(entry.binding)) for entry in response.entries]
        ticket.payload.advance(response.next_page_token)
        return [entries]


class StatusLane(Lane):
    """What a node knows of itself."""

    method = "Status"

    def subject(self, payload: None) -> str:
        return "status"

    def request(self, payloads: Iterable[None]) -> bytes:
        return pb.StatusRequest().SerializeToString()

    def answers(self, tickets: Sequence[Ticket[Any]], data: bytes) -> Iterable[Status]:
        status = read_status(pb.StatusResponse.FromString(data))
        return [status for _ in tickets]


class OpeningLane(Lane):
    """The wait for a first node that answers. Nothing is sent for it: the probes serve it."""

    method = "Status"

    def subject(self, payload: Sequence[str]) -> str:
        return f"connect to {', '.join(payload)}"
