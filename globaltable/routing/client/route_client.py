"""A client of routers for asyncio: its hottest routes, kept up to date by their stream, and gone on
with when no router answers.

::

    async with RouteClient(["router-1:7301", "router-2:7301"]) as routes:
        told = await routes.resolve("chat", "cid:1001", Context(region="beijing"))
        send(told.address, message, told.header)

Responsible for asking as little as can be: what is known is answered from memory (`RouteBook`);
what is asked for in one turn of the loop travels together; one stream tells of changes of all that
is held. When a router is lost the next one is asked, and told which versions are held: so nothing
is missed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc

from globaltable.client import ClientClosed
from globaltable.client.tls import TlsConfig, open_aio_channel
from globaltable.errors import (
    ConnectFailed,
    GlobalTableError,
    InvalidArgument,
    Overloaded,
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
from globaltable.routing.context import NO_CONTEXT, Context
from globaltable.routing.resolving import OUTAGE_S
from globaltable.routing.route_cache import RouteCache
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc

PAUSE_MIN_S: Final = 0.05
PAUSE_MAX_S: Final = 2.0
QUERIES_MAX: Final = 1_024
"""In one call."""
PENDING_MAX: Final = 65_536
"""Keys asked for at a time; what is beyond is refused."""

_log: Final = logging.getLogger(__name__)
_END: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]

_Name = tuple[str, str]
_Flight = asyncio.Future[Told]


class _Asked(NamedTuple):
    query: pb.RouteQuery
    create: bool
    answer: _Flight


class RouteClient:
    """Finds units by asking routers. For the tasks of one event loop."""

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
        """`routers` are asked in turn as they fail. At most `routes_max` routes are kept; `cache`
        may hold those of a former run. A route is gone on with for `grace_s` past its expiry while
        no router answers."""
        require_routers(routers)
        self.book: Final = RouteBook(routes_max, cache, grace_s, clock)
        self._timeout_s = timeout_s
        credentials = tls.credentials() if tls is not None else None
        self._channels = [open_aio_channel(one, credentials) for one in routers]
        self._stubs: list[Any] = [
            pb_grpc.RoutingServiceStub(one)  # type: ignore[arg-type]
            for one in self._channels
        ]
        self._current = 0
        self._waiting: list[_Asked] = []
        self._flights: dict[tuple[_Name, bool], _Flight] = {}
        self._stream_is_due = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._begin(self._follow())
        if self.book.has_to_hold:
            self._stream_is_due.set()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        for flight in list(self._flights.values()):
            if not flight.done():
                flight.set_exception(ClientClosed("the client was closed"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close(None)

    def _begin(self, doing: Any) -> None:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- resolving -------------------------------------------------------------------------------

    def known(self, dimension: str, key: str) -> Told | None:
        """The route if it is known and has not expired; awaits nothing."""
        return self.book.known(dimension, key)

    async def resolve(
        self, dimension: str, key: str, context: Context = NO_CONTEXT, *, create: bool = True
    ) -> Told:
        """The unit of a key, in any layer: see `Router.resolve`, which decides. Raises what that
        raises; `ConnectFailed` if no router answers and nothing is known."""
        book = self.book
        told, is_due = book.at_hand(dimension, key)
        if told is not None:
            if is_due:
                self._renew(dimension, key)
            return told
        try:
            # One caller's cancellation is not the others'.
            return await asyncio.shield(self._flight(dimension, key, context, create))
        except Unavailable:
            if (told := book.gone_on_with(dimension, key)) is not None:
                return told
            raise

    def _renew(self, dimension: str, key: str) -> None:
        if not self._closed and self.book.may_ask() and len(self._flights) < PENDING_MAX:
            self._flight(dimension, key, NO_CONTEXT, False)

    def _flight(self, dimension: str, key: str, context: Context, create: bool) -> _Flight:
        if self._closed:
            raise ClientClosed("the client is closed")
        name = ((dimension, key), create)
        flight = self._flights.get(name)
        if flight is None:
            if len(self._flights) >= PENDING_MAX:
                raise Overloaded(f"{len(self._flights)} keys are being asked for", OUTAGE_S)
            query = self.book.query(dimension, key, context)
            flight = self._flights[name] = asyncio.get_running_loop().create_future()
            flight.add_done_callback(lambda one: self._landed(name, one))
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._send)
            self._waiting.append(_Asked(query, create, flight))
        return flight

    def _landed(self, name: tuple[_Name, bool], flight: _Flight) -> None:
        del self._flights[name]
        if not flight.cancelled():
            flight.exception()  # whoever waits is told; of a renewal nobody need be

    def _send(self) -> None:
        """Ask for all that waits, in as few calls as may be."""
        waiting, self._waiting = self._waiting, []
        for create in (True, False):
            some = [one for one in waiting if one.create is create]
            for start in range(0, len(some), QUERIES_MAX):
                if not self._closed:
                    self._begin(self._carry(some[start : start + QUERIES_MAX], create))

    async def _carry(self, asked: list[_Asked], create: bool) -> None:
        request = pb.ResolveRequest(queries=[one.query for one in asked], lookup=not create)
        outcomes: Sequence[Told | GlobalTableError]
        try:
            response = await self._called(request)
            outcomes = self.book.outcomes(response, [one.query.key for one in asked])
        except GlobalTableError as error:
            outcomes = [error] * len(asked)
        if self.book.has_to_hold:
            self._stream_is_due.set()
        for one, outcome in zip(asked, outcomes, strict=True):
            if one.answer.done():
                continue
            if isinstance(outcome, GlobalTableError):
                one.answer.set_exception(outcome)
            else:
                one.answer.set_result(outcome)

    async def _called(self, request: pb.ResolveRequest) -> pb.ResolveResponse:
        """Ask one router after another. A query may be asked twice: a bind is safe to repeat."""
        last: grpc.aio.AioRpcError | None = None
        for _ in self._stubs:
            at = self._current
            try:
                response: pb.ResolveResponse = await self._stubs[at].Resolve(
                    request, timeout=self._timeout_s
                )
            except grpc.aio.AioRpcError as error:
                last = error
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidArgument(error.details() or "") from None
                self._leave(at)
            else:
                self.book.reached()
                return response
        assert last is not None
        self.book.unreached()
        raise ConnectFailed(f"no router answers; the last said {last.code()}: {last.details()}")

    def _leave(self, router: int) -> None:
        """Go on at the next router, unless somebody has gone on already."""
        if self._current == router:
            self._current = (router + 1) % len(self._stubs)

    # --- the stream ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """One stream after another, each of which begins with the versions that are held."""
        pause_s = PAUSE_MIN_S
        await self._stream_is_due.wait()
        while True:
            at = self._current
            stream = self._stubs[at].WatchRoutes()
            reading = asyncio.create_task(self._read(stream))
            try:
                await stream.write(self.book.hold_all())
                while not reading.done():
                    self._stream_is_due.clear()
                    due = asyncio.create_task(self._stream_is_due.wait())
                    await asyncio.wait({reading, due}, return_when=asyncio.FIRST_COMPLETED)
                    due.cancel()
                    if self.book.has_to_hold and not reading.done():
                        await stream.write(self.book.hold_more())
                if reading.result():
                    pause_s = PAUSE_MIN_S
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # whatever ended it, the next one resumes it
            except ProtocolError as error:
                _log.error("a router is left: %s", error)
            finally:
                stream.cancel()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            self._leave(at)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _read(self, stream: Any) -> bool:
        """Take in what a stream tells, until it ends; whether it had begun."""
        begun = False
        try:
            while (message := await stream.read()) is not _END:
                begun = True
                self.book.changed(message)
        except grpc.aio.AioRpcError as error:
            _log.info("a router's stream has ended: %s", error.details())
        return begun
