"""The public API: protobuf requests in, protobuf answers out. All state is the node's.

Every request is checked, whole, before anything happens: what passes is valid for the core. Writes
are checked and answered by `writes`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from globaltable import limits
from globaltable.errors import (
    Compacted,
    Elsewhere,
    GlobalTableError,
    InvalidArgument,
    Lagged,
    LimitExceeded,
    NoQuorum,
    Overloaded,
    WatchError,
)
from globaltable.model import Binding, OpKind, Outcome, qualified_name
from globaltable.server.ops import binding_message, require_count, require_table
from globaltable.server.refusals import refuse
from globaltable.server.requests import Requests
from globaltable.server.watches import Change, Watcher, Watches
from globaltable.server.writes import WriteBackend, WriteStream, write
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from globaltable.validation import require_key

SCAN_PAGE_DEFAULT: Final = 1_000
SCAN_LOOKS_MAX: Final = 64
"""Looks that one page takes at most: it may be short, or empty, but comes before its caller has
given it up. A full page of the largest size takes 20, if few of its keys were unbound."""
READ_KEYS_AT_ONCE: Final = 512
PAGE_TOKEN_BYTES_MAX: Final = 512
"""Above the longest row key, which is what a token is."""
SLOTS_BYTES_MAX: Final = 8_192
"""A bit for each of the most slots there may be."""
WATCHED_GROUPS_MAX: Final = 65_536

_CHANGE_KINDS: Final = {
    OpKind.BIND: pb.CHANGE_KIND_BOUND,
    OpKind.MOVE: pb.CHANGE_KIND_MOVED,
    OpKind.UNBIND: pb.CHANGE_KIND_UNBOUND,
}
_CODES: Final = {
    "LimitExceeded": (grpc.StatusCode.INVALID_ARGUMENT, pb.ErrorDetail.REASON_LIMIT_EXCEEDED),
    "InvalidArgument": (grpc.StatusCode.INVALID_ARGUMENT, pb.ErrorDetail.REASON_INVALID_ARGUMENT),
    "UnknownTable": (grpc.StatusCode.NOT_FOUND, pb.ErrorDetail.REASON_UNKNOWN_TABLE),
    "Overloaded": (grpc.StatusCode.RESOURCE_EXHAUSTED, pb.ErrorDetail.REASON_OVERLOADED),
    "NoQuorum": (grpc.StatusCode.UNAVAILABLE, pb.ErrorDetail.REASON_NO_QUORUM),
    "SlotElsewhere": (grpc.StatusCode.FAILED_PRECONDITION, pb.ErrorDetail.REASON_ELSEWHERE),
    "Elsewhere": (grpc.StatusCode.FAILED_PRECONDITION, pb.ErrorDetail.REASON_ELSEWHERE),
    "Compacted": (grpc.StatusCode.OUT_OF_RANGE, pb.ErrorDetail.REASON_COMPACTED),
    "Lagged": (grpc.StatusCode.OUT_OF_RANGE, pb.ErrorDetail.REASON_LAGGED),
}

log = structlog.get_logger(__name__)


class Backend(WriteBackend, Protocol):
    """What the service asks of the node."""

    @property
    def watches(self) -> Watches: ...

    async def barrier(self, names: Iterable[bytes], timeout_s: float | None) -> None:
        """Return once local reads of `names` see all that was acknowledged before the call."""
        ...

    def read(self, names: Sequence[bytes]) -> list[tuple[Binding | None, int]]:
        """Of each name its binding, and the revision at which it was read."""
        ...

    def scan(
        self, table: str, prefix: str, token: bytes, count: int, wanted: bytes = b""
    ) -> tuple[list[tuple[str, Binding]], bytes]: ...

    def open_watch(
        self, start: bytes, exact: bool, after: Mapping[int, int], groups: Sequence[int] = ()
    ) -> Watcher: ...

    def status(self) -> pb.StatusResponse: ...

    def topology(self, table: str, known: tuple[int, int]) -> pb.TopologyResponse:
        """`known`: version plus 1 and moves, as in `TopologyRequest`."""
        ...

    def placement(self, table: str) -> pb.PlacementResponse: ...


Context = grpc.aio.ServicerContext[Any, Any]


async def _abort(context: Context, error: GlobalTableError) -> NoReturn:
    """End the call with the error's code, and what else it has to say in a trailer."""
    code, reason = _CODES[type(error).__name__]
    detail = pb.ErrorDetail(reason=reason, message=str(error))
    if isinstance(error, Overloaded):
        detail.retry_delay_ms = max(1, round(error.retry_delay_s * 1000))
    if isinstance(error, WatchError):
        detail.oldest.extend(_position(error.oldest))
    await refuse(context, code, detail)


def _position(position: dict[int, int]) -> list[pb.GroupRevision]:
    return [pb.GroupRevision(group=g, revision=r) for g, r in sorted(position.items())]


class GlobalTableService(pb_grpc.GlobalTableServiceServicer):
    """`globaltable.v1.GlobalTableService` over a `Backend`."""

    def __init__(self, backend: Backend, requests: Requests | None = None) -> None:
        self._backend = backend
        self._requests = requests
        self._streams: set[WriteStream] = set()
        self._draining = False

    def drain(self) -> None:
        """Streams end in good order: what is under way is answered, nothing more is begun."""
        self._draining = True
        for stream in self._streams:
            stream.drain()
        self._backend.watches.wake_all()

    # Names are the service's. --------------------------------------------------------------------

    async def Write(self, request: pb.WriteRequest, context: Context) -> pb.WriteResponse:  # noqa: N802
        try:
            require_table(request.table, self._backend.tables)
            require_count(len(request.ops))
        except InvalidArgument as error:
            await _abort(context, error)
        with self._noted("Write", request.table, len(request.ops), context) as told:
            return await write(self._backend, request, context.time_remaining(), told)

    async def WriteStream(  # noqa: N802
        self, requests: AsyncIterator[pb.WriteStreamRequest], context: Context
    ) -> AsyncIterator[pb.WriteStreamResponse]:
        if self._draining:
            # Of what it would carry nothing is read, and so nothing happens.
            await _abort(context, NoQuorum("this node is stopping"))
        address = context.peer() if self._requests is not None else ""
        stream = WriteStream(self._backend, self._requests, address)
        self._streams.add(stream)
        reading = asyncio.create_task(stream.read(requests))
        try:
            async for response in stream.answers():
                yield response
            if reading.done() and not reading.cancelled():
                reading.result()
        except InvalidArgument as error:
            await _abort(context, error)
        except DecodeError:
            # What came before it has been answered; of it and what follows nothing is begun.
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "a request of the stream does not decode"
            )
        finally:
            self._streams.discard(stream)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def Read(self, request: pb.ReadRequest, context: Context) -> pb.ReadResponse:  # noqa: N802
        try:
            require_table(request.table, self._backend.tables)
            if len(request.keys) > limits.READ_KEYS_MAX:
                raise LimitExceeded(
                    f"{len(request.keys)} keys in one Read; at most {limits.READ_KEYS_MAX} are "
                    "allowed: split them"
                )
            for key in request.keys:
                require_key(key)
        except InvalidArgument as error:
            await _abort(context, error)
        with self._noted("Read", request.table, len(request.keys), context):
            return await self._read(request, context)

    async def _read(self, request: pb.ReadRequest, context: Context) -> pb.ReadResponse:
        try:
            names = [qualified_name(request.table, key) for key in request.keys]
            if request.linearizable:
                await self._backend.barrier(names, context.time_remaining())
            response = pb.ReadResponse()
            add = response.results.add
            for start in range(0, len(names), READ_KEYS_AT_ONCE):
                if start:
                    # So that a large request does not hold up the node's turns.
                    await asyncio.sleep(0)
                for binding, revision in self._backend.read(
                    names[start : start + READ_KEYS_AT_ONCE]
                ):
                    result = add(read_revision=revision)
                    if binding is not None:
                        # Written in place: a message of its own, copied, costs twice as much.
                        message = result.binding
                        message.unit, message.version, message.revision, _ = binding
        except (NoQuorum, Overloaded, Elsewhere) as error:
            await _abort(context, error)
        if self._requests is not None:
            measures = self._requests.measures
            measures.keys_read[request.table, request.linearizable] += len(names)
        return response

    async def Scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:  # noqa: N802
        try:
            require_table(request.table, self._backend.tables)
            if request.page_size > limits.SCAN_PAGE_MAX:
                raise LimitExceeded(f"page_size {request.page_size} is over {limits.SCAN_PAGE_MAX}")
            _require_prefix(request.prefix)
            if len(request.page_token) > PAGE_TOKEN_BYTES_MAX:
                raise InvalidArgument(
                    f"a page_token of {len(request.page_token)} bytes; pass on one that Scan gave"
                )
            if len(request.slots) > SLOTS_BYTES_MAX:
                raise LimitExceeded(
                    f"slots of {len(request.slots)} bytes; at most {SLOTS_BYTES_MAX} are allowed"
                )
        except InvalidArgument as error:
            await _abort(context, error)
        with self._noted("Scan", request.table, 0, context):
            return await self._scan(request, context)

    async def _scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:
        try:
            response = pb.ScanResponse(next_page_token=request.page_token)
            remaining = request.page_size or SCAN_PAGE_DEFAULT
            for _ in range(SCAN_LOOKS_MAX):
                # Some at a time, so that a large page does not hold up the node's turns.
                entries, token = self._backend.scan(
                    request.table,
                    request.prefix,
                    response.next_page_token,
                    min(remaining, 500),
                    request.slots,
                )
                response.next_page_token = token
                for key, binding in entries:
                    response.entries.add(key=key, binding=binding_message(binding))
                if not token:
                    break
                remaining -= len(entries)
                if not remaining:
                    break
                await asyncio.sleep(0)
        except (NoQuorum, Elsewhere) as error:
            await _abort(context, error)
        return response

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        try:
            watcher = self._open_watch(request)
        except (InvalidArgument, Overloaded, NoQuorum, Elsewhere, Compacted) as error:
            await _abort(context, error)
        try:
            yield pb.WatchResponse(position=_position(watcher.position))
            while not self._draining:
                changes = self._backend.watches.take(watcher)
                watcher.told = dict(watcher.position)
                yield _watch_response(changes, watcher.position)
                # If nothing matches it is woken all the same before what it was told is too old
                # (`watch_progress`).
                await watcher.awake.wait()
        except (Lagged, NoQuorum, Elsewhere) as error:
            await _abort(context, error)
        finally:
            self._backend.watches.remove(watcher)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:  # noqa: N802
        return self._backend.status()

    async def Topology(  # noqa: N802
        self, request: pb.TopologyRequest, context: Context
    ) -> pb.TopologyResponse:
        known = (request.known_version, request.known_moves)
        return self._backend.topology(request.table, known)

    async def Placement(  # noqa: N802
        self, request: pb.PlacementRequest, context: Context
    ) -> pb.PlacementResponse:
        return self._backend.placement(request.table)

    # ---------------------------------------------------------------------------------------------

    @contextmanager
    def _noted(
        self, method: str, table: str, items: int, context: Context
    ) -> Iterator[Callable[[Sequence[Outcome]], None]]:
        """A request that has passed its checks; yields whom to tell of outcomes."""
        if self._requests is None:
            yield lambda outcomes: None
            return
        request = self._requests.begin(method, table, items, context.peer())
        error = ""
        try:
            yield request.told
        except BaseException as ended:
            # `abort` raises; and a caller that goes away cancels.
            error = type(ended).__name__ if not context.code() else str(context.details())
            raise
        finally:
            request.end(error)

    def _open_watch(self, request: pb.WatchRequest) -> Watcher:
        require_table(request.table, self._backend.tables)
        after = {item.group: item.revision for item in request.after}
        match request.WhichOneof("selector"):
            case "key":
                require_key(request.key)
                name = qualified_name(request.table, request.key)
                return self._backend.open_watch(name, True, after)
            case "prefix":
                _require_prefix(request.prefix)
                name = qualified_name(request.table, request.prefix)
                if len(request.groups) > WATCHED_GROUPS_MAX:
                    raise LimitExceeded(
                        f"{len(request.groups)} groups to watch; at most {WATCHED_GROUPS_MAX} are "
                        "allowed"
                    )
                groups = sorted(set(request.groups))
                return self._backend.open_watch(name, False, after, groups)
            case _:
                raise InvalidArgument("a watch needs a key or a prefix; '' watches the table")


def _require_prefix(prefix: str) -> None:
    """Refuse a prefix that is none of any key. It is kept, and looked for in the table."""
    if prefix:
        require_key(prefix)


def _watch_response(changes: Sequence[Change], position: dict[int, int]) -> pb.WatchResponse:
    """Changes and the position behind them in one message: a client has both or neither."""
    return pb.WatchResponse(
        position=_position(position),
        changes=[
            pb.Change(
                kind=_CHANGE_KINDS[change.kind],
                key=change.name.partition(b"\0")[2].decode(),
                unit=change.unit,
                version=change.version,
                revision=change.revision,
                group=change.group,
            )
            for change in changes
        ],
    )
