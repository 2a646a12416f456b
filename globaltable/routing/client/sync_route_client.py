"""The same client for threads: `SyncRouteClient`, over gRPC's own threads.

Responsible for the lock around the `RouteBook`, and for whose thread waits for what: a caller asks
by itself, for all who want the same key meanwhile; renewals are begun and not waited for; one
thread reads the stream.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

import grpc

from globaltable.client import ClientClosed
from globaltable.client.tls import TlsConfig, open_channel
from globaltable.errors import (
    ConnectFailed,
    GlobalTableError,
    InvalidArgument,
    ProtocolError,
    Unavailable,
)
from globaltable.routing.client.route_book import (
    GRACE_S_DEFAULT,
    ROUTES_MAX_DEFAULT,
    RouteBook,
    Told,
    require_routers,
)
from globaltable.routing.client.route_client import PAUSE_MAX_S, PAUSE_MIN_S
from globaltable.routing.context import NO_CONTEXT, Context
from globaltable.routing.route_cache import RouteCache
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc

_log: Final = logging.getLogger(__name__)

_Flight = tuple[str, str, bool]


class SyncRouteClient:
    """Finds units by asking routers. For any number of threads. A context manager."""

    def __init__(
        self,
        routers: Sequence[str],
        *,
        routes_max: int = ROUTES_MAX_DEFAULT,
        cache: RouteCache | None = None,
        timeout_s: float = 5.0,
        grace_s: float = GRACE_S_DEFAULT,
        tls: TlsConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """As of `RouteClient`."""
        require_routers(routers)
        self.book: Final = RouteBook(routes_max, cache, grace_s, clock)
        self._timeout_s = timeout_s
        credentials = tls.credentials() if tls is not None else None
        self._channels = [open_channel(one, credentials) for one in routers]
        self._stubs: list[Any] = [pb_grpc.RoutingServiceStub(one) for one in self._channels]
        self._current = 0
        self._lock: Final = threading.RLock()
        self._has_news: Final = threading.Condition(self._lock)
        """There is more to be held, or the stream that was told of it is over, or all is."""
        self._flights: dict[_Flight, Future[Told]] = {}
        self._renewing: set[_Flight] = set()
        self._stream: Any = None
        self._closed = False
        self._follower = threading.Thread(
            target=self._follow, name="globaltable-routes", daemon=True
        )

    def __enter__(self) -> Self:
        self._follower.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of everything. Callers that wait are told `ClientClosed`."""
        with self._lock:
            self._closed = True
            self._has_news.notify_all()
            if self._stream is not None:
                self._stream.cancel()
        for channel in self._channels:
            channel.close()
        self._follower.join()

    # --- resolving -------------------------------------------------------------------------------

    def known(self, dimension: str, key: str) -> Told | None:
        """The route if it is known and has not expired; waits for nobody."""
        with self._lock:
            return self.book.known(dimension, key)

    def resolve(
        self, dimension: str, key: str, context: Context = NO_CONTEXT, *, create: bool = True
    ) -> Told:
        """The unit of a key, in any layer: see `RouteClient.resolve`."""
        name = (dimension, key, create)
        book = self.book
        with self._lock:
            told, is_due = book.at_hand(dimension, key)
            if told is not None:
                if is_due:
                    self._renew(dimension, key)
                return told
            if self._closed:
                raise ClientClosed("the client is closed")
            query = book.query(dimension, key, context)
            flight = self._flights.get(name)
            is_own = flight is None
            if flight is None:
                flight = self._flights[name] = Future()
        if is_own:
            self._ask(name, query, flight)
        try:
            return flight.result()
        except Unavailable:
            with self._lock:
                told = book.gone_on_with(dimension, key)
            if told is None:
                raise
            return told

    def _ask(self, name: _Flight, query: pb.RouteQuery, flight: "Future[Told]") -> None:
        _, key, create = name
        outcome: Told | GlobalTableError
        try:
            response = self._called(pb.ResolveRequest(queries=[query], lookup=not create))
            (outcome,) = self._taken_in(response, key)
        except GlobalTableError as error:
            outcome = error
        with self._lock:
            del self._flights[name]
        if isinstance(outcome, GlobalTableError):
            flight.set_exception(outcome)
        else:
            flight.set_result(outcome)

    def _taken_in(self, response: pb.ResolveResponse, key: str) -> list[Told | GlobalTableError]:
        with self._lock:
            outcomes = self.book.outcomes(response, [key])
            if self.book.has_to_hold:
                self._has_news.notify_all()
            return outcomes

    def _called(self, request: pb.ResolveRequest) -> pb.ResolveResponse:
        """Ask one router after another. A query may be asked twice: a bind is safe to repeat."""
        last: grpc.RpcError | None = None
        for _ in self._stubs:
            at = self._current
            try:
                response: pb.ResolveResponse = self._stubs[at].Resolve(
                    request, timeout=self._timeout_s
                )
            except ValueError:
                raise ClientClosed("the client was closed") from None
            except grpc.RpcError as error:
                last = error
                if self._closed:
                    raise ClientClosed("the client was closed") from None
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidArgument(error.details() or "") from None
                self._leave(at)
            else:
                with self._lock:
                    self.book.reached()
                return response
        assert last is not None
        with self._lock:
            self.book.unreached()
        raise ConnectFailed(f"no router answers; the last said {last.code()}: {last.details()}")

    def _leave(self, router: int) -> None:
        with self._lock:
            if self._current == router:
                self._current = (router + 1) % len(self._stubs)

    def _renew(self, dimension: str, key: str) -> None:
        """Begin to ask, under the lock, and wait for nothing."""
        name = (dimension, key, False)
        if self._closed or name in self._renewing or not self.book.may_ask():
            return
        self._renewing.add(name)
        at = self._current
        query = self.book.query(dimension, key, NO_CONTEXT)
        request = pb.ResolveRequest(queries=[query], lookup=True)
        call = self._stubs[at].Resolve.future(request, timeout=self._timeout_s)
        call.add_done_callback(lambda one: self._renewed(name, at, one))

    def _renewed(self, name: _Flight, router: int, call: Any) -> None:
        with self._lock:
            self._renewing.discard(name)
        try:
            self._taken_in(call.result(), name[1])
            with self._lock:
                self.book.reached()
        except (grpc.RpcError, grpc.FutureCancelledError):
            self._leave(router)
            with self._lock:
                self.book.unreached()
        except ProtocolError as error:
            _log.error("%s", error)

    # --- the stream ------------------------------------------------------------------------------

    def _follow(self) -> None:
        """One stream after another, each of which begins with the versions that are held."""
        pause_s = PAUSE_MIN_S
        while True:
            with self._lock:
                while not self._closed and not self.book.has_to_hold and self._stream is None:
                    self._has_news.wait()
                if self._closed:
                    return
                at = self._current
                over = threading.Event()
                self._stream = stream = self._stubs[at].WatchRoutes(self._requests(over))
            try:
                for message in stream:
                    pause_s = PAUSE_MIN_S
                    with self._lock:
                        self.book.changed(message)
            except grpc.RpcError as error:
                _log.info("a router's stream has ended: %s", error.details())
            except ProtocolError as error:
                _log.error("a router is left: %s", error)
            stream.cancel()
            self._leave(at)
            with self._lock:
                over.set()
                self._has_news.notify_all()
                self._has_news.wait_for(lambda: self._closed, pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _requests(self, over: threading.Event) -> Iterator[pb.WatchRoutesRequest]:
        """What one stream is told, on a thread of gRPC's."""
        with self._lock:
            request = self.book.hold_all()
        while True:
            yield request
            with self._lock:
                self._has_news.wait_for(
                    lambda: self._closed or over.is_set() or self.book.has_to_hold
                )
                if self._closed or over.is_set():
                    return
                request = self.book.hold_more()
