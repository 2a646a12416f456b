"""Routers over three real nodes: one answer everywhere, changes pushed, what goes on without."""

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from globaltable.client import ClientClosed, GlobalTable
from globaltable.errors import (
    ConfigError,
    ConnectFailed,
    DeadlineExceeded,
    InvalidArgument,
    NotBound,
)
from globaltable.routing.client.keys import Rotation
from globaltable.routing.client.route_book import Told
from globaltable.routing.client.route_client import RouteClient
from globaltable.routing.client.router import PolicyChanged, Router
from globaltable.routing.client.sync_route_client import SyncRouteClient
from globaltable.routing.config import RoutingConfig, parse
from globaltable.routing.context import Context
from globaltable.routing.header import HeaderVerifier
from globaltable.routing.keyring import Keyring
from globaltable.routing.resolution import NoUnit, Source
from globaltable.routing.service.serving import Serving
from globaltable.routing.signatures import Algorithm, RootSecret
from globaltable.testing import LocalCluster
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.long]

PATIENCE_S = 20.0
TABLES = ("routing.chat", "routing.room", "routing.meta")
CONFIG = """
namespace = "test"
endpoints = ENDPOINTS
timeout_s = 1.0
[units.A]
region = "a"
[units.B]
region = "b"
address = "b.example:443"
[dimensions.edge]
layer = "L0"
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
[dimensions.room]
layer = "L2"
table = "routing.room"
policy = "rooms"
ttl_s = 1
unreachable = "provisional"
[policies]
new.first_of = [{ nearest = {} }, { weighted = {} }]
rooms = { unit = "B" }
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(tables=TABLES) as running:
        yield running


def _config(cluster: LocalCluster, nodes: Sequence[str] = "abc") -> RoutingConfig:
    addresses = ", ".join(f'"{cluster.addresses[node]}"' for node in nodes)
    return parse(CONFIG.replace("ENDPOINTS", f"[{addresses}]"))


async def _until(what: Callable[[], Any], wanted: object) -> None:
    """Look until it is so."""
    until = time.monotonic() + PATIENCE_S
    while True:
        seen = what()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen == wanted:
            return
        assert time.monotonic() < until, f"{seen} is not {wanted}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _served(config: RoutingConfig, **given: Any) -> AsyncIterator[tuple[Any, Serving]]:
    """A router service, and a stub that asks it."""
    serving = Serving(config, "127.0.0.1:0", **given)
    await serving.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
            yield pb_grpc.RoutingServiceStub(channel), serving  # type: ignore[arg-type]
    finally:
        await serving.stop()


async def test_routers_that_race_for_new_sessions_all_learn_the_same_unit(
    cluster: LocalCluster,
) -> None:
    keys = [f"race:{number}" for number in range(50)]
    async with Router(_config(cluster, "a")) as one, Router(_config(cluster, "b")) as other:
        asked_a = [("chat", key, Context(region="a")) for key in keys]
        asked_b = [("chat", key, Context(region="b")) for key in keys]
        told = await asyncio.gather(one.resolve_many(asked_a), other.resolve_many(asked_b))
    pairs = [*zip(*told, strict=True)]
    assert all(a.route.unit == b.route.unit for a, b in pairs), pairs  # type: ignore[union-attr]
    created = [{a.source, b.source} for a, b in pairs]  # type: ignore[union-attr]
    assert all(sources == {Source.CREATED, Source.READ} for sources in created)


async def test_many_who_wait_for_one_key_ask_once_and_one_who_leaves_takes_nobody_along(
    cluster: LocalCluster,
) -> None:
    async with Router(_config(cluster)) as router:
        first = asyncio.create_task(router.resolve("chat", "flight", Context(region="b")))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(router.resolve("chat", "flight")) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        told = await asyncio.gather(*rest)
        assert {one.route.unit for one in told} == {"B"}, "the first one's context has decided"
        assert router.resolver.answered[Source.CREATED] == 1
        with pytest.raises(NotBound):
            await router.resolve("chat", "nobody has bound it", create=False)


async def test_a_move_reaches_the_caches_of_all_routers(cluster: LocalCluster) -> None:
    async with (
        GlobalTable.connect(cluster.addresses.values(), table="routing.chat") as chats,
        Router(_config(cluster, "b")) as router,
    ):
        told = await router.resolve("chat", "moved", Context(region="a"))
        assert (told.route.unit, told.route.version) == ("A", 1)
        await chats.move("moved", to="B", version=1)
        await _until(lambda: router.known("chat", "moved").route[2:4], ("B", 2))  # type: ignore[union-attr]
        await chats.unbind("moved", version=2)
        await _until(lambda: router.known("chat", "moved"), None)


async def test_a_policy_set_at_one_router_is_gone_by_at_all(cluster: LocalCluster) -> None:
    async with Router(_config(cluster, "a")) as one, Router(_config(cluster, "b")) as other:
        assert (await one.policy("rooms")) == ('{"unit":"B"}', 0)
        long = '{"first_of":[' + ",".join(['{"unit":"A"}'] * 100) + "]}"
        assert (await one.set_policy("rooms", long, 0)).version == 1
        assert (await other.policy("rooms")) == (long, 1)
        await _until(lambda: len(getattr(other.resolver.policies["rooms"], "policies", ())), 100)
        assert (await other.resolve("room", "by-policy")).route.unit == "A"
        with pytest.raises(PolicyChanged, match="is at version 1, not at version 0"):
            await other.set_policy("rooms", '{"unit":"B"}', 0)
        with pytest.raises(ConfigError, match="'Z' is no unit"):
            await other.set_policy("rooms", '{"unit":"Z"}', 1)
        assert (await other.set_policy("rooms", '{"unit":"B"}', 1)).version == 2
        await _until(lambda: str(one.resolver.policies["rooms"]), "To(unit='B')")
    async with Router(_config(cluster, "c")) as late:
        assert (await late.policy("rooms")).version == 2, "whoever comes later finds it"


async def test_a_drained_unit_is_given_nothing_new_by_any_router(cluster: LocalCluster) -> None:
    async with Router(_config(cluster, "a")) as one, Router(_config(cluster, "b")) as other:
        await one.drain("A", True)
        await _until(lambda: other.resolver.fleet.drained, frozenset("A"))
        told = await other.resolve("chat", "beside", Context(region="a"))
        assert told.route.unit == "B"
        await one.drain("B", True)
        await _until(lambda: other.resolver.fleet.drained, frozenset("AB"))
        with pytest.raises(NoUnit, match="A is drained, B is drained"):
            await other.resolve("chat", "nowhere")
        for unit in "AB":
            await other.drain(unit, False)
        await _until(lambda: one.resolver.fleet.drained, frozenset())


async def test_the_service_answers_each_query_on_its_own_and_signs_what_is_bound(
    cluster: LocalCluster,
) -> None:
    root = RootSecret(b"r" * 32)
    given = {"rotation": Rotation(Algorithm.ED25519), "roots": (root,)}
    async with _served(_config(cluster), **given) as (stub, serving):
        queries = [
            pb.RouteQuery(dimension="edge", key="me", region="b"),
            pb.RouteQuery(dimension="chat", key="signed", region="b"),
            pb.RouteQuery(dimension="chats", key="x"),
            pb.RouteQuery(dimension="chat", key=""),
        ]

        async def resolved() -> list[pb.RouteResult]:
            return list((await stub.Resolve(pb.ResolveRequest(queries=queries))).results)

        edge, chat, unknown, empty = await resolved()
        assert (edge.route.unit, edge.route.address) == ("B", "b.example:443")
        assert (edge.layer, edge.source) == (pb.LAYER_L0, pb.ROUTE_SOURCE_RULE)
        assert (chat.route.unit, chat.route.version) == ("B", 1)
        assert unknown.failure == empty.failure == pb.ROUTE_FAILURE_INVALID_ARGUMENT
        assert "'chats' is no dimension" in unknown.message
        missing = pb.RouteQuery(dimension="chat", key="not bound")
        response = await stub.Resolve(pb.ResolveRequest(queries=[missing], lookup=True))
        assert response.results[0].failure == pb.ROUTE_FAILURE_NOT_BOUND

        async def is_signed() -> bool:
            return bool((await resolved())[1].route.header)

        await _until(is_signed, True)
        chat = (await resolved())[1]
        ring = await _ring(serving)
        route = HeaderVerifier(ring).verify(chat.route.header, time.time())
        assert route == ("chat", "signed", "B", 1, chat.route.expires_at_s)


async def _ring(serving: Serving) -> Keyring:
    """As a unit learns it: without the root."""
    from globaltable.routing.client.keys import HeaderKeys

    async with HeaderKeys(await serving.router.meta(), "test") as keys:
        await keys.wait_read()
        return keys.ring


async def test_changes_are_pushed_and_a_stream_is_resumed_by_the_versions_held(
    cluster: LocalCluster,
) -> None:
    async with (
        GlobalTable.connect(cluster.addresses.values(), table="routing.chat") as chats,
        _served(_config(cluster)) as (stub, serving),
    ):
        for key in ("p1", "p2"):
            await chats.bind(key, "A")

        def hold(*held: tuple[str, int]) -> pb.WatchRoutesRequest:
            keys = [pb.HeldKey(dimension="chat", key=key, version=v) for key, v in held]
            return pb.WatchRoutesRequest(hold=keys)

        async def update(call: Any) -> list[tuple[str, str, int]]:
            routes = [one.route for one in (await call.read()).updates]
            return [(route.key, route.unit, route.version) for route in routes]

        stream = stub.WatchRoutes()
        await stream.write(hold(("p1", 1), ("p2", 0)))
        assert await update(stream) == [], "the first message says that it has begun"
        assert await update(stream) == [("p2", "A", 1)]
        await chats.move("p1", to="B", version=1)
        assert await update(stream) == [("p1", "B", 2)]
        await stream.write(pb.WatchRoutesRequest(release=[pb.HeldKey(dimension="chat", key="p1")]))
        await _until(lambda: serving.service.subscriptions.held_total, 1)
        await chats.move("p1", to="A", version=2)
        await chats.unbind("p2", version=1)
        assert await update(stream) == [("p2", "", 2)]
        stream.cancel()

        resumed = stub.WatchRoutes()
        await resumed.write(hold(("p1", 2)))
        assert await update(resumed) == []
        assert await update(resumed) == [("p1", "A", 3)], "what it missed comes first"
        resumed.cancel()
        await _until(lambda: len(serving.service.subscriptions), 0)

        refused = stub.WatchRoutes()
        await refused.write(pb.WatchRoutesRequest(hold=[pb.HeldKey(dimension="edge", key="me")]))
        with pytest.raises(grpc.aio.AioRpcError, match="'edge' is not of layer L2"):
            await refused.read()


async def test_a_client_asks_once_is_told_of_changes_and_goes_on_at_another_router(
    cluster: LocalCluster,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        chats = await stack.enter_async_context(
            GlobalTable.connect(cluster.addresses.values(), table="routing.chat")
        )
        first = await _started(cluster, "a")
        second = await _started(cluster, "b")
        stack.push_async_callback(second.stop)
        routers = [f"127.0.0.1:{one.port}" for one in (first, second)]
        routes = await stack.enter_async_context(RouteClient(routers, timeout_s=5.0))

        told = await asyncio.gather(*(routes.resolve("chat", f"c{n}") for n in range(100)))
        assert {one.source for one in told} == {Source.CREATED}
        again = await routes.resolve("chat", "c1")
        assert again == told[1]._replace(source=Source.CACHE)
        assert (await routes.resolve("edge", "me", Context(region="b"))).address == "b.example:443"
        with pytest.raises(NotBound):
            await routes.resolve("chat", "c-none", create=False)
        with pytest.raises(InvalidArgument, match="'chats' is no dimension"):
            await routes.resolve("chats", "x")

        def unit_of(key: str) -> tuple[str, int] | None:
            known = routes.known("chat", key)
            return None if known is None else known.route[2:4]

        await _until(lambda: first.service.subscriptions.held_total, 100)
        unit = told[1].route.unit
        other = "B" if unit == "A" else "A"
        await chats.move("c1", to=other, version=1)
        await _until(lambda: unit_of("c1"), (other, 2))

        await first.stop()
        await chats.move("c1", to=unit, version=2)
        await _until(lambda: unit_of("c1"), (unit, 3))
        assert second.service.subscriptions.held_total == 100
        assert (await routes.resolve("chat", "c-new")).source is Source.CREATED
        await chats.unbind("c1", version=3)
        await _until(lambda: unit_of("c1"), None)


async def test_a_client_holds_no_more_than_it_keeps_and_goes_on_without_any_router(
    cluster: LocalCluster,
) -> None:
    now_s = [time.time()]
    serving = await _started(cluster, "c")
    async with RouteClient(
        [f"127.0.0.1:{serving.port}"], routes_max=8, clock=lambda: now_s[0]
    ) as routes:
        for number in range(30):
            last = await routes.resolve("chat", f"h{number}")
        assert len(routes.book.cache) == 8
        await _until(lambda: serving.service.subscriptions.held_total <= 25, True)
        await serving.stop()
        now_s[0] += 1_000
        told = await routes.resolve("chat", "h29")
        assert told == last._replace(source=Source.GRACE)
        with pytest.raises(ConnectFailed, match="no router answers"):
            await routes.resolve("chat", "h-new")


async def test_threads_ask_by_a_client_that_does_the_same(cluster: LocalCluster) -> None:
    now_s = [time.time()]
    first, second = await _started(cluster, "a"), await _started(cluster, "b")
    addresses = [f"127.0.0.1:{one.port}" for one in (first, second)]
    with SyncRouteClient(addresses, clock=lambda: now_s[0]) as routes:

        def resolve(key: str, **given: Any) -> Awaitable[Told]:
            return asyncio.to_thread(routes.resolve, "chat", key, **given)

        told = await asyncio.gather(*(resolve(f"t{number % 5}") for number in range(20)))
        assert [one.route.key for one in told] == [f"t{number % 5}" for number in range(20)]
        assert first.router.resolver.answered[Source.CREATED] == 5
        with pytest.raises(NotBound):
            await resolve("t-none", create=False)

        async with GlobalTable.connect(cluster.addresses.values(), table="routing.chat") as chats:
            unit = told[0].route.unit
            other = "B" if unit == "A" else "A"
            for serving, to, version in ((first, other, 1), (second, unit, 2)):
                subscriptions = serving.service.subscriptions
                await _until(partial(getattr, subscriptions, "held_total"), 5)
                await chats.move("t0", to=to, version=version)
                await _until(lambda: routes.known("chat", "t0").route[2:4], (to, version + 1))  # type: ignore[union-attr]
                await serving.stop()
        now_s[0] += 1_000
        assert (await resolve("t0")).source is Source.GRACE
        with pytest.raises(ConnectFailed, match="no router answers"):
            await resolve("t-new")
    with pytest.raises(ClientClosed):
        routes.resolve("chat", "t-new")


async def _started(cluster: LocalCluster, node: str) -> Serving:
    serving = Serving(_config(cluster, node), "127.0.0.1:0")
    await serving.start()
    return serving


async def test_without_globaltable_known_sessions_go_on_and_new_ones_say_what_they_are(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """The last test: it leaves no node alive."""
    kept = tmp_path / "routes"
    config = _config(cluster)
    query = pb.RouteQuery(dimension="room", key="known")
    asked = pb.ResolveRequest(queries=[query])
    async with _served(config, kept_in=kept) as (stub, _):
        assert (await stub.Resolve(asked)).results[0].route.unit == "B"
        for node in cluster.nodes:
            cluster.kill(node)
        await asyncio.sleep(1.1)
        told = (await stub.Resolve(asked)).results[0]
        assert (told.route.unit, told.source) == ("B", pb.ROUTE_SOURCE_GRACE)

    async with _served(config, kept_in=kept) as (stub, serving):
        told = (await stub.Resolve(asked)).results[0]
        assert (told.route.unit, told.source) == ("B", pb.ROUTE_SOURCE_GRACE), "over a restart"
        router = serving.router
        new = await router.resolve("room", "new")
        assert (new.route.unit, new.route.version, new.source) == ("B", 0, Source.PROVISIONAL)
        assert (await router.resolve("edge", "me", Context(region="a"))).route.unit == "A"
        with pytest.raises((ConnectFailed, DeadlineExceeded)):
            await router.resolve("chat", "new")
        queries = [query, pb.RouteQuery(dimension="chat", key="new")]
        known, late = (await stub.Resolve(pb.ResolveRequest(queries=queries), timeout=0.5)).results
        assert known.route.unit == "B", "who can be answered does not wait for who cannot"
        assert late.failure in (pb.ROUTE_FAILURE_UNKNOWN, pb.ROUTE_FAILURE_UNAVAILABLE)
        assert set(router.troubles) == set(TABLES)
