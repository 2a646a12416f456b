"""The routing service: a router's answers and changes over gRPC.

Responsible for streams and their bounds, and for which status an error ends a call with. What is
decided, the router decides.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, NoReturn

import grpc

from globaltable import validation
from globaltable.errors import (
    ConfigError,
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    LimitExceeded,
    Overloaded,
    PermissionDenied,
    Rejected,
    Unavailable,
    VersionConflict,
)
from globaltable.routing.client.following import RETRY_S
from globaltable.routing.client.router import Router
from globaltable.routing.config import Bound, RoutingConfig
from globaltable.routing.resolution import RouteChange
from globaltable.routing.service import messages
from globaltable.routing.service.listening import is_administrator
from globaltable.routing.subscriptions import Held, Subscriber, Subscriptions
from globaltable.v1 import routing_pb2 as pb

SERVICE_NAME: Final = "globaltable.v1.RoutingService"
QUERIES_MAX: Final = 4_096
"""In one Resolve."""
KEYS_PER_REQUEST_MAX: Final = 10_000
"""Named in one message of a stream."""
UPDATES_PER_MESSAGE: Final = 512
ENCODED_MAX: Final = 1_024
ENCODED_S: Final = 1.0
"""How many changes are kept encoded, and for how long: until all streams are told of them, while
what is said of their expiry stays true."""
ANSWERING_S: Final = 0.1
"""What is left of a call's time to tell what has been answered by then."""

Context = grpc.aio.ServicerContext[Any, Any]


def status_of(error: GlobalTableError) -> grpc.StatusCode:
    """The gRPC status that says what the caller can do about it."""
    match error:
        case PermissionDenied():
            return grpc.StatusCode.PERMISSION_DENIED
        case VersionConflict():
            return grpc.StatusCode.ABORTED
        case InvalidArgument() | ConfigError():
            return grpc.StatusCode.INVALID_ARGUMENT
        case Rejected():
            return grpc.StatusCode.FAILED_PRECONDITION
        case Overloaded():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case Unavailable():
            return grpc.StatusCode.UNAVAILABLE
        case DeadlineExceeded():
            return grpc.StatusCode.DEADLINE_EXCEEDED
        case _:
            return grpc.StatusCode.INTERNAL


async def _abort(context: Context, error: GlobalTableError) -> NoReturn:
    await context.abort(status_of(error), str(error))
    raise AssertionError("abort does not return")


class RoutingService:
    """`globaltable.v1.RoutingService` over a `Router`."""

    def __init__(
        self,
        config: RoutingConfig,
        router: Router,
        *,
        subscriptions: Subscriptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._router = router
        self._clock = clock
        self.subscriptions: Final = Subscriptions() if subscriptions is None else subscriptions
        router.listen(self.subscriptions)
        self._streams: set[asyncio.Event] = set()
        self._encoded: OrderedDict[RouteChange, bytes] = OrderedDict()
        self._draining = False

    def drain(self) -> None:
        """Streams end; their callers go on at another router."""
        self._draining = True
        for awake in self._streams:
            awake.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Have a server serve it. The generated function would do the same, but encode what is
        streamed for each stream anew: that is a good part of what it costs to send it."""
        unary: Final[tuple[tuple[Any, Any, Any], ...]] = (
            (self.Resolve, pb.ResolveRequest, pb.ResolveResponse),
            (self.GetPolicy, pb.GetPolicyRequest, pb.PolicyResponse),
            (self.SetPolicy, pb.SetPolicyRequest, pb.PolicyResponse),
            (self.ListUnits, pb.ListUnitsRequest, pb.ListUnitsResponse),
            (self.DrainUnit, pb.DrainUnitRequest, pb.DrainUnitResponse),
        )
        handlers: dict[str, Any] = {
            method.__name__: grpc.unary_unary_rpc_method_handler(
                method,
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
            for method, request, response in unary
        }
        handlers["WatchRoutes"] = grpc.stream_stream_rpc_method_handler(
            self.WatchRoutes, request_deserializer=pb.WatchRoutesRequest.FromString
        )
        declared = {
            method.name for method in pb.DESCRIPTOR.services_by_name["RoutingService"].methods
        }
        assert handlers.keys() == declared, "every method of the service has its handler"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),)
        )

    # Names are the service's. --------------------------------------------------------------------

    async def Resolve(  # noqa: N802
        self, request: pb.ResolveRequest, context: Context
    ) -> pb.ResolveResponse:
        if len(request.queries) > QUERIES_MAX:
            await _abort(
                context,
                LimitExceeded(
                    f"{len(request.queries)} queries in one Resolve; at most {QUERIES_MAX} are "
                    "allowed: split them"
                ),
            )
        asked = [(one.dimension, one.key, messages.context_of(one)) for one in request.queries]
        left_s = context.time_remaining()
        timeout_s = None if left_s is None else max(left_s - ANSWERING_S, left_s / 2)
        outcomes = await self._router.resolve_many(
            asked, create=not request.lookup, timeout_s=timeout_s
        )
        fleet = self._config.fleet
        return pb.ResolveResponse(results=[messages.result(one, fleet) for one in outcomes])

    async def WatchRoutes(  # noqa: N802
        self, requests: AsyncIterator[pb.WatchRoutesRequest], context: Context
    ) -> AsyncIterator[bytes]:
        """Yields messages as they are encoded: see `add_to`."""
        awake = asyncio.Event()
        subscriber = Subscriber(awake.set)
        try:
            self.subscriptions.add(subscriber)
        except Overloaded as error:
            await _abort(context, error)
        self._streams.add(awake)
        began = asyncio.Event()
        reading = asyncio.create_task(self._read(requests, subscriber, began))
        reading.add_done_callback(lambda _: awake.set())
        try:
            has_begun = False
            while not self._draining:
                if began.is_set():
                    if not has_begun:
                        has_begun = True
                        yield b""  # a message without updates
                    changes = subscriber.take(UPDATES_PER_MESSAGE)
                    if changes:
                        yield self._updates(changes)
                        continue
                awake.clear()
                self._require_well(reading)
                await awake.wait()
        except GlobalTableError as error:
            await _abort(context, error)
        finally:
            self._streams.discard(awake)
            self.subscriptions.remove(subscriber)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def GetPolicy(  # noqa: N802
        self, request: pb.GetPolicyRequest, context: Context
    ) -> pb.PolicyResponse:
        try:
            stored = await self._router.policy(request.name)
        except GlobalTableError as error:
            await _abort(context, error)
        return pb.PolicyResponse(text=stored.text, version=stored.version)

    async def SetPolicy(  # noqa: N802
        self, request: pb.SetPolicyRequest, context: Context
    ) -> pb.PolicyResponse:
        await self._require_administrator(context)
        try:
            stored = await self._router.set_policy(request.name, request.text, request.version)
        except GlobalTableError as error:
            await _abort(context, error)
        return pb.PolicyResponse(text=stored.text, version=stored.version)

    async def ListUnits(  # noqa: N802
        self, request: pb.ListUnitsRequest, context: Context
    ) -> pb.ListUnitsResponse:
        fleet = self._router.resolver.fleet
        units = [
            messages.unit_status(unit, fleet.state(name)) for name, unit in fleet.units.items()
        ]
        return pb.ListUnitsResponse(units=units)

    async def DrainUnit(  # noqa: N802
        self, request: pb.DrainUnitRequest, context: Context
    ) -> pb.DrainUnitResponse:
        await self._require_administrator(context)
        try:
            await self._router.drain(request.unit, not request.serve)
        except GlobalTableError as error:
            await _abort(context, error)
        return pb.DrainUnitResponse()

    async def _require_administrator(self, context: Context) -> None:
        if not is_administrator(self._config.listening, context):
            await _abort(
                context,
                PermissionDenied(
                    "only who is named in [listening] admins may set policies and drain units"
                ),
            )

    # --- a stream --------------------------------------------------------------------------------

    @staticmethod
    def _require_well(reading: "asyncio.Task[None]") -> None:
        """Raise what ended the reading. A caller that has no more to say ends nothing."""
        if reading.done() and not reading.cancelled():
            reading.result()

    def _updates(self, changes: Sequence[RouteChange]) -> bytes:
        """The message of some changes. Messages of a repeated field are joined by joining their
        encodings, so what a thousand streams are told is encoded once."""
        if len(changes) == 1:
            return self._update(changes[0])
        return b"".join(map(self._update, changes))

    def _update(self, change: RouteChange) -> bytes:
        encoded = self._encoded.get(change)
        if encoded is None:
            made = self._router.resolver.route_of(change, self._clock())
            update = messages.update(change, made, self._config.fleet)
            encoded = pb.WatchRoutesResponse(updates=[update]).SerializeToString()
            self._encoded[change] = encoded
            asyncio.get_running_loop().call_later(ENCODED_S, self._encoded.pop, change, None)
            if len(self._encoded) > ENCODED_MAX:
                self._encoded.popitem(last=False)
        return encoded

    async def _read(
        self,
        requests: AsyncIterator[pb.WatchRoutesRequest],
        subscriber: Subscriber,
        began: asyncio.Event,
    ) -> None:
        async for request in requests:
            hold = [self._held(one) for one in request.hold]
            release = [(one.dimension, one.key) for one in request.release]
            if len(hold) + len(release) > KEYS_PER_REQUEST_MAX:
                raise LimitExceeded(
                    f"{len(hold) + len(release)} keys in one message; at most "
                    f"{KEYS_PER_REQUEST_MAX} are allowed: split them"
                )
            self.subscriptions.release(subscriber, release)
            self.subscriptions.hold(subscriber, hold)
            await self._catch_up(subscriber, hold)
            if not began.is_set():
                began.set()
                subscriber.wake()

    def _held(self, message: pb.HeldKey) -> Held:
        if not isinstance(self._config.dimension(message.dimension), Bound):
            raise InvalidArgument(
                f"{message.dimension!r} is not of layer L2: its routes follow from the "
                "configuration, and do not change"
            )
        validation.require_key(message.key)
        return Held(message.dimension, message.key, message.version)

    async def _catch_up(self, subscriber: Subscriber, keys: Iterable[Held]) -> None:
        """Tell of what has changed since the versions that the caller holds. It is read after the
        keys are followed, behind a barrier: so nothing falls between the two, even if the watch is
        at another node."""
        by_dimension: dict[str, list[str]] = {}
        for one in keys:
            by_dimension.setdefault(one.dimension, []).append(one.key)
        for dimension, some in by_dimension.items():
            while True:
                try:
                    changes = await self._router.read_anew(dimension, some)
                    break
                except (Unavailable, DeadlineExceeded):
                    await asyncio.sleep(RETRY_S)  # the caller goes on with what it holds
            for change in changes:
                subscriber.offer(change)
