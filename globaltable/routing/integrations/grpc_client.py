"""gRPC clients: the header that is known goes along with each call, and new routes are kept.

::

    routes = KeptRoutes()
    channel = grpc.aio.insecure_channel(address, interceptors=aio_interceptors(routes, routed))
    channel = grpc.intercept_channel(grpc.insecure_channel(address), *interceptors(routes, routed))

`routed` maps full method names to what tells dimension and key of a request, as the server's does.
To which unit a call goes is for the caller: `routes.unit(dimension, key)` is the last known one;
after a refusal, `refusal(error)` says what to do.

Calls that stream their answer carry the header; what comes back is read from a refusal only.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc
import grpc.aio

from globaltable.errors import InvalidArgument
from globaltable.routing.integrations.admission import (
    ROUTE_BIN,
    VERDICT,
    retry_after_s_of,
    route_of,
)
from globaltable.routing.route_cache import RouteCache

NameOf = Callable[[Any], tuple[str, str]]


class KeptRoutes:
    """The routes of one client process, from any thread; a `RouteCache` with a lock around it."""

    def __init__(
        self, cache: RouteCache | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._cache = cache if cache is not None else RouteCache()
        self._clock = clock
        self._lock = threading.Lock()

    def header(self, dimension: str, key: str) -> bytes:
        """The header to send; empty if none is known that counts."""
        with self._lock:
            cached = self._cache.find(dimension, key, self._clock())
        return (cached.header or b"") if cached is not None else b""

    def unit(self, dimension: str, key: str) -> str | None:
        """Where the key was last known to live."""
        with self._lock:
            cached = self._cache.last_known(dimension, key)
        return cached.route.unit if cached is not None else None

    def take(self, dimension: str, key: str, metadata: object) -> None:
        """Keep what came with an answer. What is no route says nothing."""
        told, header = _told(metadata)
        route = route_of(dimension, key, told)
        if route is None:
            return
        try:
            with self._lock:
                self._cache.put(route, header or None)
        except InvalidArgument:
            return  # no route at all: whoever sent it, the next unit asked says where to go


class Refusal(NamedTuple):
    """What a unit told that did not serve a call."""

    verdict: str
    """Of `fence.Verdict`, or `admission.UNCONFIRMED`; empty if routing is not why it failed."""
    retry_after_s: float


def refusal(error: grpc.RpcError) -> Refusal:
    """What a failed call says about routing."""
    told, _ = _told(error.trailing_metadata())
    return Refusal(told.get(VERDICT, ""), retry_after_s_of(told))


def _told(metadata: Any) -> tuple[dict[str, str], bytes]:
    given = dict(metadata or ())
    header = given.get(ROUTE_BIN, b"")
    told = {name: value for name, value in given.items() if isinstance(value, str)}
    return told, header if isinstance(header, bytes) else b""


class _Details(NamedTuple):
    """Of a call of a sync channel: grpc reads these names."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Named:
    def __init__(self, routes: KeptRoutes, routed: Mapping[str, NameOf]) -> None:
        self._routes = routes
        self._routed = dict(routed)

    def _name(self, method: str | bytes, request: Any) -> tuple[str, str] | None:
        text = method.decode() if isinstance(method, bytes) else method
        name_of = self._routed.get(text)
        return name_of(request) if name_of is not None else None

    def _metadata(self, given: Any, name: tuple[str, str]) -> list[Any]:
        header = self._routes.header(*name)
        own = [pair for pair in given or () if pair[0] != ROUTE_BIN]
        return [*own, (ROUTE_BIN, header)] if header else own


class _SyncUnary(_Named, grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        name = self._name(details.method, request)
        if name is None:
            return continuation(details, request)
        call = continuation(_with(details, self._metadata(details.metadata, name)), request)

        def take(done: Any) -> None:
            self._routes.take(*name, done.trailing_metadata())

        if call.done():
            take(call)  # a blocking call: what it told is known when it returns
        else:
            call.add_done_callback(take)
        return call


class _SyncStream(_Named, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        name = self._name(details.method, request)
        if name is not None:
            details = _with(details, self._metadata(details.metadata, name))
        return continuation(details, request)


def _with(details: Any, metadata: Any) -> _Details:
    return _Details(
        details.method,
        details.timeout,
        metadata,
        details.credentials,
        details.wait_for_ready,
        details.compression,
    )


class _AioUnary(_Named, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        name = self._name(details.method, request)
        if name is None:
            return await continuation(details, request)
        metadata = grpc.aio.Metadata(*self._metadata(details.metadata, name))
        call = await continuation(details._replace(metadata=metadata), request)
        await call.code()  # it has ended then, well or not
        self._routes.take(*name, await call.trailing_metadata())
        return call


class _AioStream(_Named, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        name = self._name(details.method, request)
        if name is not None:
            metadata = grpc.aio.Metadata(*self._metadata(details.metadata, name))
            details = details._replace(metadata=metadata)
        return await continuation(details, request)


def interceptors(routes: KeptRoutes, routed: Mapping[str, NameOf]) -> list[Any]:
    """For `grpc.intercept_channel`."""
    return [_SyncUnary(routes, routed), _SyncStream(routes, routed)]


def aio_interceptors(routes: KeptRoutes, routed: Mapping[str, NameOf]) -> list[Any]:
    """For `grpc.aio.insecure_channel` and `secure_channel`."""
    return [_AioUnary(routes, routed), _AioStream(routes, routed)]
