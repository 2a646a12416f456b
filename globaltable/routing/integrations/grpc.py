"""gRPC servers (asyncio): a unit decides on each call of the methods that are routed.

::

    routing = RoutingInterceptor(unit, {"/im.Chats/Send": lambda request: ("chat", request.chat)})
    server = grpc.aio.server(interceptors=[routing])

Responsible for what a decision is in gRPC. A new header, and the route, come in the trailers
(`admission` has the names), with any status:

    serve                    the method runs under a permit; OK only once that is confirmed
    moved, forward           handed on by `forward`, else FAILED_PRECONDITION: do not retry here
    moving, ask, lapsed      UNAVAILABLE, and when to come again: nothing happened
    not bound                NOT_FOUND
    not confirmed            UNKNOWN: it may have happened; send it again with its own id

A method that streams its answer is decided on when it begins, and holds no permit: a drain would
wait for it. It reads what it sends within `admitted`, and what that raises ends it. One that
streams its requests names no key that could be decided on: it is refused by UNIMPLEMENTED.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio

from globaltable.errors import (
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    NotBound,
    OutcomeUnknown,
    Unavailable,
)
from globaltable.routing.integrations.admission import (
    FORWARDED,
    ROUTE_BIN,
    Gate,
    LivesElsewhere,
    admitted,
    carried,
    carried_error,
    decided,
)
from globaltable.routing.route import Route

NameOf = Callable[[Any], tuple[str, str]]
"""Dimension and key of a request."""

Forward = Callable[[str, Any, Route, bytes], Awaitable[Any]]
"""Sends a request of a method to the unit of a route, with its header and `forwarded_metadata`;
returns the response, or raises what the call did."""

Context = grpc.aio.ServicerContext[Any, Any]


def forwarded_metadata(header: bytes) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata of a call that one unit hands on to another."""
    return ((FORWARDED, "1"), *(((ROUTE_BIN, header),) if header else ()))


class RoutingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """One for each unit. Methods that are not in `routed` are left alone."""

    def __init__(
        self, gate: Gate, routed: Mapping[str, NameOf], *, forward: Forward | None = None
    ) -> None:
        """`routed` maps full method names, "/package.Service/Method". Without `forward`, senders
        are told where else to go."""
        self._gate = gate
        self._routed = dict(routed)
        self._forward = forward

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        name_of = self._routed.get(method)
        if handler is None or name_of is None:
            return handler
        coding = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            return _not_routable(method, handler)
        if handler.response_streaming:

            async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
                await self._begin_stream(name_of, request, context)
                try:
                    async for response in handler.unary_stream(request, context):
                        yield response
                except GlobalTableError as error:
                    await _refuse(context, error)

            return grpc.unary_stream_rpc_method_handler(stream, **coding)

        async def unary(request: Any, context: Context) -> Any:
            return await self._unary(method, name_of, handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(unary, **coding)

    async def _unary(
        self, method: str, name_of: NameOf, run: Any, request: Any, context: Context
    ) -> Any:
        metadata = _metadata(context)
        try:
            dimension, key = name_of(request)
            async with admitted(self._gate, dimension, key, _header(metadata)) as message:
                response = await run(request, context)
        except LivesElsewhere as elsewhere:
            if self._forward is None or FORWARDED in metadata:
                await _refuse(context, elsewhere)
            return await self._handed_on(method, request, metadata, elsewhere, context)
        except GlobalTableError as error:
            await _refuse(context, error)
        if message.decision.header:
            _tell(context, carried(message.decision), message.decision.header)
        return response

    async def _handed_on(
        self,
        method: str,
        request: Any,
        metadata: Mapping[str, str | bytes],
        elsewhere: LivesElsewhere,
        context: Context,
    ) -> Any:
        assert self._forward is not None
        decision = elsewhere.decision
        header = decision.header or _header(metadata)
        try:
            response = await self._forward(method, request, elsewhere.route, header)
        except grpc.aio.AioRpcError as error:
            # What the other unit says of the key is newer than what is known here.
            trailers: Any = tuple(error.trailing_metadata() or ())
            await context.abort(error.code(), error.details() or "", trailers)
        _tell(context, carried(decision), decision.header)
        return response

    async def _begin_stream(self, name_of: NameOf, request: Any, context: Context) -> None:
        try:
            decision = await decided(self._gate, *name_of(request), _header(_metadata(context)))
        except GlobalTableError as error:
            await _refuse(context, error)
        if decision.header:
            _tell(context, carried(decision), decision.header)


def _not_routable(method: str, handler: Any) -> Any:
    """Refuses every call: a mistake of whoever named the method, to be seen at the first one."""

    async def refuse(_requests: Any, context: Context) -> Any:
        detail = f"{method} streams its requests: take it out of `routed`, and decide for each"
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, detail)

    if not handler.response_streaming:
        return grpc.stream_unary_rpc_method_handler(refuse)

    async def refuse_stream(requests: Any, context: Context) -> AsyncIterator[Any]:
        yield await refuse(requests, context)

    return grpc.stream_stream_rpc_method_handler(refuse_stream)


async def _refuse(context: Context, error: GlobalTableError) -> NoReturn:
    """End the call by what an error is in gRPC."""
    match error:
        case LivesElsewhere():
            code = grpc.StatusCode.FAILED_PRECONDITION
        case OutcomeUnknown():  # NotConfirmed, or what the method was told itself
            code = grpc.StatusCode.UNKNOWN
        case DeadlineExceeded():
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        case NotBound():
            code = grpc.StatusCode.NOT_FOUND
        case InvalidArgument():
            code = grpc.StatusCode.INVALID_ARGUMENT
        case Unavailable():
            code = grpc.StatusCode.UNAVAILABLE
        case _:
            code = grpc.StatusCode.INTERNAL
    header = error.decision.header if isinstance(error, LivesElsewhere) else b""
    await context.abort(code, str(error), _trailers(carried_error(error), header))


def _tell(context: Context, told: Mapping[str, str], header: bytes) -> None:
    """Add to the trailers, whatever the method has set."""
    context.set_trailing_metadata((*context.trailing_metadata(), *_trailers(told, header)))


def _trailers(told: Mapping[str, str], header: bytes) -> tuple[tuple[str, str | bytes], ...]:
    return (*told.items(), *(((ROUTE_BIN, header),) if header else ()))


def _metadata(context: Context) -> dict[str, str | bytes]:
    return dict(context.invocation_metadata() or ())


def _header(metadata: Mapping[str, str | bytes]) -> bytes:
    header = metadata.get(ROUTE_BIN, b"")
    return header if isinstance(header, bytes) else header.encode()
