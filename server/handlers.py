"""Handlers of RPCs, as interceptors put something around them.

An interceptor is asked for a handler at each call, and the handlers of a server do not change: so
what is put around one is made once, and kept.
"""

import abc
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]
"""What answers: a coroutine function, or an asynchronous generator function if it streams by
yielding."""

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def streams_by_yielding(behaviour: Behaviour) -> bool:
    return inspect.isasyncgenfunction(behaviour)


def behaviour_of(handler: Any) -> Behaviour:
    """The one that a handler has."""
    behaviours = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }
    found: Behaviour = behaviours[handler.request_streaming, handler.response_streaming]
    return found


def with_behaviour(handler: Any, behaviour: Behaviour) -> Any:
    """A handler of the same kind and the same encodings that answers otherwise."""
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return makers[handler.request_streaming, handler.response_streaming](
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class HandlerInterceptor(grpc.aio.ServerInterceptor, abc.ABC):  # type: ignore[type-arg]
    """One that puts something around each handler: a subclass says what, by `_around`."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        """By method. Only of those that there are: what a caller names otherwise is not kept."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of an RPC with that around it; the same for all calls."""
        method = handler_call_details.method
        made = self._made.get(method)
        if made is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            made = self._made[method] = self._around(method, handler)
        return made

    @abc.abstractmethod
    def _around(self, method: str, handler: Any) -> Any:
        """The handler to be called in the place of this one."""
