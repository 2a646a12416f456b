"""A client of routers against a server that says whatever the test has it say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from globaltable.client import ClientClosed
from globaltable.errors import InvalidArgument, OutcomeUnknown, ProtocolError, Unavailable
from globaltable.routing.client.route_book import ROUTES_MAX
from globaltable.routing.client.route_client import RouteClient
from globaltable.routing.resolution import NoHome, NoUnit
from globaltable.v1 import routing_pb2 as pb

Answer = Callable[[pb.ResolveRequest], pb.ResolveResponse]
PATIENCE_S = 10.0


def _result(key: str, unit: str = "A", version: int = 1) -> pb.RouteResult:
    route = pb.Route(dimension="chat", key=key, unit=unit, version=version, expires_at_s=2**40)
    return pb.RouteResult(route=route, source=pb.ROUTE_SOURCE_READ, layer=pb.LAYER_L2)


class Said:
    """A routing service. What it was asked, and what it says."""

    def __init__(self) -> None:
        self.asked: list[pb.ResolveRequest] = []
        self.answer: Answer = lambda request: pb.ResolveResponse(
            results=[_result(one.key) for one in request.queries]
        )
        self.held: list[pb.HeldKey] = []
        self.streams = 0
        self.updates: asyncio.Queue[pb.WatchRoutesResponse] = asyncio.Queue()

    async def resolve(self, request: pb.ResolveRequest, context: Any) -> pb.ResolveResponse:
        self.asked.append(request)
        return self.answer(request)

    async def watch(
        self, requests: AsyncIterator[pb.WatchRoutesRequest], context: Any
    ) -> AsyncIterator[pb.WatchRoutesResponse]:
        self.streams += 1
        reading = asyncio.create_task(self._read(requests))
        try:
            yield pb.WatchRoutesResponse()
            while True:
                yield await self.updates.get()
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[pb.WatchRoutesRequest]) -> None:
        async for request in requests:
            self.held += request.hold


@contextlib.asynccontextmanager
async def _routed(said: Said) -> AsyncIterator[RouteClient]:
    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Resolve": grpc.unary_unary_rpc_method_handler(
            said.resolve, pb.ResolveRequest.FromString, pb.ResolveResponse.SerializeToString
        ),
        "WatchRoutes": grpc.stream_stream_rpc_method_handler(
            said.watch, pb.WatchRoutesRequest.FromString, pb.WatchRoutesResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("globaltable.v1.RoutingService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with RouteClient([f"127.0.0.1:{port}"]) as routes:
            yield routes
    finally:
        await server.stop(None)


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.01)


async def test_what_is_asked_for_in_one_turn_travels_together_and_once() -> None:
    said = Said()
    async with _routed(said) as routes:
        keys = [f"k{number % 10}" for number in range(50)]
        told = await asyncio.gather(*(routes.resolve("chat", key) for key in keys))
        assert [one.route.key for one in told] == keys
        assert [len(request.queries) for request in said.asked] == [10]
        await routes.resolve("chat", "k1")
        assert len(said.asked) == 1
        await _until(lambda: {one.key for one in said.held} == set(keys))


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (pb.ROUTE_FAILURE_INVALID_ARGUMENT, InvalidArgument),
        (pb.ROUTE_FAILURE_NO_HOME, NoHome),
        (pb.ROUTE_FAILURE_NO_UNIT, NoUnit),
        (pb.ROUTE_FAILURE_UNAVAILABLE, Unavailable),
        (pb.ROUTE_FAILURE_UNKNOWN, OutcomeUnknown),
        (pb.ROUTE_FAILURE_INTERNAL, ProtocolError),
    ],
)
async def test_a_failure_is_the_error_that_the_router_had(
    failure: pb.RouteFailure, error: type[Exception]
) -> None:
    said = Said()
    result = pb.RouteResult(failure=failure, message="why it is so")
    said.answer = lambda request: pb.ResolveResponse(results=[result])
    async with _routed(said) as routes:
        with pytest.raises(error, match="why it is so"):
            await routes.resolve("chat", "k")
        assert len(routes.book.cache) == 0


@pytest.mark.parametrize(
    "results",
    [
        [],
        [_result("k"), _result("k")],
        [_result("k", unit="")],
        [_result("k", unit="x" * 65)],
        [_result("k", version=2**63)],
        [pb.RouteResult(layer=pb.LAYER_L1, route=pb.Route(key="k"))],
    ],
)
async def test_what_no_correct_router_says_is_a_protocol_error_and_is_not_kept(
    results: list[pb.RouteResult],
) -> None:
    said = Said()
    said.answer = lambda request: pb.ResolveResponse(results=results)
    async with _routed(said) as routes:
        with pytest.raises(ProtocolError):
            await routes.resolve("chat", "k")
        assert len(routes.book.cache) == 0
        said.answer = lambda request: pb.ResolveResponse(results=[_result("k")])
        assert (await routes.resolve("chat", "k")).route.unit == "A"


async def test_a_stream_that_says_what_it_must_not_is_left_and_followed_by_another() -> None:
    said = Said()
    async with _routed(said) as routes:
        await routes.resolve("chat", "k")
        await _until(lambda: said.streams == 1)
        wrong = pb.Route(dimension="chat", key="k", unit="x" * 65, version=2)
        said.updates.put_nowait(pb.WatchRoutesResponse(updates=[pb.RouteUpdate(route=wrong)]))
        await _until(lambda: said.streams == 2)
        moved = _result("k", unit="B", version=2).route
        said.updates.put_nowait(pb.WatchRoutesResponse(updates=[pb.RouteUpdate(route=moved)]))
        await _until(lambda: routes.known("chat", "k").route.unit == "B")  # type: ignore[union-attr]


async def test_closing_tells_whoever_waits() -> None:
    said = Said()
    never = asyncio.Event()

    async def wait(request: pb.ResolveRequest, context: Any) -> pb.ResolveResponse:
        await never.wait()
        return pb.ResolveResponse()

    said.resolve = wait  # type: ignore[method-assign]
    async with _routed(said) as routes:
        waiting = asyncio.create_task(routes.resolve("chat", "k"))
        await asyncio.sleep(0.05)
    with pytest.raises(ClientClosed):
        await waiting
    with pytest.raises(ClientClosed):
        await routes.resolve("chat", "k")


def test_bad_settings_are_refused_by_value() -> None:
    with pytest.raises(InvalidArgument, match="must be a list of addresses, not 'router:1'"):
        RouteClient("router:1")
    with pytest.raises(InvalidArgument, match=f"1 to {ROUTES_MAX}, not 0"):
        RouteClient(["router:1"], routes_max=0)
