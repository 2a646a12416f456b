"""What a unit's decision is in gRPC, in HTTP and for a plain function; bad headers, end to end."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from globaltable.errors import InvalidArgument, NotBound
from globaltable.routing.client.unit import Unit, UnitSettings
from globaltable.routing.fence import NotConfirmed
from globaltable.routing.header import (
    HEADER_BYTES_MAX,
    HeaderSigner,
    HeaderVerifier,
    Refusal,
    to_text,
)
from globaltable.routing.integrations import admission
from globaltable.routing.integrations.admission import ComeAgain, LivesElsewhere, current
from globaltable.routing.integrations.asgi import RoutingMiddleware
from globaltable.routing.integrations.function import routed
from globaltable.routing.integrations.grpc import RoutingInterceptor, forwarded_metadata
from globaltable.routing.integrations.grpc_client import (
    KeptRoutes,
    aio_interceptors,
    interceptors,
    refusal,
)
from globaltable.routing.integrations.prometheus import OF_ANOTHER_KEY, RouteHeaders
from globaltable.routing.route import Route
from globaltable.routing.verified import VerifiedHeaders
from tests.routing.rings import NOW_S, record, ring
from tests.routing.simulated_disk import Disk, Store
from tests.routing.simulated_table import SimulatedClient, SimulatedTable

D: Final = "chat"
SEND: Final = "/test.Chats/Send"
FOLLOW: Final = "/test.Chats/Follow"
UPLOAD: Final = "/test.Chats/Upload"
ROUTED: Final = {one: lambda request: (D, request.decode()) for one in (SEND, FOLLOW, UPLOAD)}


class Scene:
    """Unit A, which has `here`; B has `far`; and what it accepted."""

    def __init__(self) -> None:
        self.table = SimulatedTable()
        self.table.write("here", "A", 0.0)
        self.table.write("far", "B", 0.0)
        self.accepted: list[tuple[str, int]] = []
        self.seen_headers: list[bytes] = []
        self.loses_lease = False
        self.unit: Unit
        self.chats: SimulatedClient
        self.verifier = HeaderVerifier(ring(record()))

    def accept(self, key: str) -> None:
        self.accepted.append((key, current().permit.version))
        if self.loses_lease:
            self.unit.fence.lose_lease()


@asynccontextmanager
async def opened() -> AsyncIterator[Scene]:
    scene, dice = Scene(), random.Random(1)
    chats = SimulatedClient(scene.table, dice)
    scene.chats = chats
    async with Unit(
        "A",
        meta=SimulatedClient(SimulatedTable(), dice),
        tables={D: chats},
        store=Store(Disk("A"), dice),
        verifier=VerifiedHeaders(scene.verifier),
        signer=HeaderSigner(ring(record())),
        settings=UnitSettings(lease_s=30.0),
        wall_clock=lambda: NOW_S,
    ) as unit:
        scene.unit = unit
        await unit.ready()
        yield scene


@asynccontextmanager
async def dialled(address: str, **how: Any) -> AsyncIterator[Any]:
    """A channel without messages' types: they are bytes here."""
    async with grpc.aio.insecure_channel(address, **how) as channel:
        yield channel


@asynccontextmanager
async def served(scene: Scene, **how: Any) -> AsyncIterator[str]:
    """The unit behind gRPC; its address."""

    async def send(request: bytes, context: Any) -> bytes:
        metadata = dict(context.invocation_metadata())
        scene.seen_headers.append(metadata.get(admission.ROUTE_BIN, b""))
        scene.accept(request.decode())
        context.set_trailing_metadata((("of-the-method", "stays"),))
        return b"stored"

    async def follow(request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield request

    async def upload(_requests: Any, _context: Any) -> bytes:
        raise AssertionError("not to be reached")

    server = grpc.aio.server(interceptors=[RoutingInterceptor(scene.unit, ROUTED, **how)])
    handlers = {
        "Send": grpc.unary_unary_rpc_method_handler(send),
        "Follow": grpc.unary_stream_rpc_method_handler(follow),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Chats", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def http(
    scene: Scene, key: str, header: str = "", *more: tuple[bytes, bytes], **how: Any
) -> tuple[int, dict[str, str]]:
    """The status and headers of a request to an application behind the middleware."""
    sent: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scene.accept(scope["path"].removeprefix("/chats/"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"stored"})

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(event: Any) -> None:
        sent.append(event)

    guarded = RoutingMiddleware(
        app, scene.unit, lambda scope: (D, scope["path"].removeprefix("/chats/")), **how
    )
    headers = [(admission.ROUTE.encode(), header.encode())] if header else []
    scope = {
        "type": "http",
        "path": f"/chats/{key}",
        "query_string": b"a=1",
        "headers": [*headers, *more],
    }
    await guarded(scope, receive, send)
    start, body = sent
    assert body["type"] == "http.response.body"
    return start["status"], {name.decode(): v.decode() for name, v in start["headers"]}


def signed(unit: str = "A", *, key: str = "here", at_s: int = NOW_S, **how: Any) -> bytes:
    return HeaderSigner(ring(record(**how))).sign(Route(D, key, unit, 1, at_s + 300), at_s)


BAD: Final[list[tuple[bytes, Refusal]]] = [
    (b"", Refusal.MALFORMED),
    (b"\x01", Refusal.MALFORMED),
    (signed()[:-20], Refusal.MALFORMED),
    (signed()[:-1] + b"?", Refusal.BAD_SIGNATURE),
    (signed() + b"\0" * HEADER_BYTES_MAX, Refusal.OVERSIZED),
    (signed(key_id=7), Refusal.UNKNOWN_KEY),
    (signed(at_s=NOW_S + 60), Refusal.NOT_YET_VALID),
    (signed(at_s=NOW_S - 90)[:11] + b"\0\0\0\1" + signed()[15:], Refusal.EXPIRED),
]


@pytest.mark.parametrize(("header", "reason"), BAD[1:])
async def test_a_bad_header_over_grpc_is_counted_and_says_nothing(
    header: bytes, reason: Refusal
) -> None:
    """The message is served as if it had come without: with a good header for the next one."""
    async with opened() as scene, served(scene) as address:
        async with dialled(address) as channel:
            call = channel.unary_unary(SEND)(b"here", metadata=((admission.ROUTE_BIN, header),))
            assert await call == b"stored"
            told: dict[str, Any] = dict(await call.trailing_metadata())
        assert scene.verifier.refused[reason] == 1
        assert scene.unit.headers_refused == 1
        good = scene.verifier.verify(told[admission.ROUTE_BIN], NOW_S)
        assert good[:4] == (D, "here", "A", 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *[(to_text(header), reason) for header, reason in BAD[1:]],
        ("not base64url!", Refusal.MALFORMED),
        ("é", Refusal.MALFORMED),
        ("A" * 10_000, Refusal.OVERSIZED),
    ],
)
async def test_a_bad_header_over_http_is_counted_and_says_nothing(
    text: str, reason: Refusal
) -> None:
    async with opened() as scene:
        status, told = await http(scene, "here", text)
        assert status == 200 and admission.ROUTE in told
        assert scene.verifier.refused[reason] == 1 and scene.unit.headers_refused == 1


async def test_headers_are_exported_by_the_reason_they_were_refused_for() -> None:
    async with opened() as scene:
        registry = CollectorRegistry()
        registry.register(RouteHeaders.of(scene.unit))
        before = generate_latest(registry).decode()
        for header, _ in BAD[1:]:
            await http(scene, "here", to_text(header))
        await http(scene, "here", to_text(signed()))
        await http(scene, "here", to_text(signed(key="another")))

        def count(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(f"globaltable_route_headers_{name}_total", labels)

        wanted = Counter(reason.value for _, reason in BAD[1:])
        for reason in Refusal:
            assert count("refused", reason=reason.value) == wanted[reason.value], reason
            assert f'reason="{reason.value}"' in before, "each is there from the beginning"
        assert count("refused", reason=OF_ANOTHER_KEY) == 1
        assert count("accepted") == 2
        assert scene.unit.headers_refused == sum(wanted.values()) + 1


@pytest.mark.parametrize("skew_s", [0, 4])
async def test_clocks_that_are_a_little_apart_change_nothing(skew_s: int) -> None:
    async with opened() as scene:
        status, told = await http(scene, "here", to_text(signed(at_s=NOW_S + skew_s)))
        assert status == 200 and admission.ROUTE not in told
        assert scene.unit.headers_refused == 0


@pytest.mark.parametrize(
    ("key", "code", "status", "verdict"),
    [
        ("far", grpc.StatusCode.FAILED_PRECONDITION, 421, "moved"),
        ("nowhere", grpc.StatusCode.NOT_FOUND, 404, "not bound"),
        ("", grpc.StatusCode.INVALID_ARGUMENT, 400, ""),
    ],
)
async def test_what_is_not_served_is_told_why(
    key: str, code: grpc.StatusCode, status: int, verdict: str
) -> None:
    async with opened() as scene, served(scene) as address:
        async with dialled(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary(SEND)(key.encode())
        assert failed.value.code() is code
        assert refusal(failed.value).verdict == verdict
        found, told = await http(scene, key)
        assert (found, told.get(admission.VERDICT, "")) == (status, verdict)
        if verdict == "moved":
            trailers: Any = failed.value.trailing_metadata()
            for some in (told, dict(trailers)):
                assert (some[admission.UNIT], some[admission.VERSION]) == ("B", "1")
        assert not scene.accepted


async def test_what_cannot_be_told_now_says_when_to_come_again() -> None:
    async with opened() as scene, served(scene) as address:
        scene.chats.cut = True
        async with dialled(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary(SEND)(b"here")
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert refusal(failed.value).retry_after_s > 0
        status, told = await http(scene, "here")
        assert status == 503 and int(told["retry-after"]) >= 1
        assert not scene.accepted


async def test_units_and_keys_of_any_alphabet_are_told() -> None:
    async with opened() as scene, served(scene) as address:
        scene.table.write("群聊", "北京", 0.0)
        routes = KeptRoutes(clock=lambda: NOW_S)
        adding = aio_interceptors(routes, ROUTED)
        async with dialled(address, interceptors=adding) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(SEND)("群聊".encode())
        assert routes.unit(D, "群聊") == "北京"
        status, told = await http(scene, "群聊", address_of=lambda _unit: "https://b")
        assert (status, told["location"]) == (307, "https://b/chats/%E7%BE%A4%E8%81%8A?a=1")


async def test_a_websocket_for_elsewhere_is_closed_before_it_is_accepted() -> None:
    """And one for here reaches the application."""
    async with opened() as scene:
        sent: list[Any] = []
        reached: list[str] = []

        async def app(scope: Any, _receive: Any, _send: Any) -> None:
            reached.append(scope["path"])

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(event: Any) -> None:
            sent.append(event)

        guarded = RoutingMiddleware(app, scene.unit, lambda scope: (D, scope["path"][1:]))
        for key in ("here", "far"):
            await guarded({"type": "websocket", "path": f"/{key}", "headers": []}, receive, send)
        assert reached == ["/here"]
        assert [(one["type"], one["code"]) for one in sent] == [("websocket.close", 1013)]
        assert len(sent[0]["reason"].encode()) <= 123


async def test_http_senders_are_sent_on_with_their_query() -> None:
    async with opened() as scene:
        address_of = {"B": "https://b.example"}.get
        status, told = await http(scene, "far", address_of=address_of)
        assert (status, told["location"]) == (307, "https://b.example/chats/far?a=1")
        assert scene.verifier.verify_text(told[admission.ROUTE], NOW_S).unit == "B"


async def test_a_message_for_elsewhere_is_handed_on_once() -> None:
    handed: list[tuple[str, bytes]] = []

    async def forward(_method: str, request: bytes, route: Route, header: bytes) -> bytes:
        handed.append((route.unit, header))
        return b"stored there"

    async def forward_http(
        route: Route, header: bytes, _scope: Any, _receive: Any, send: Any
    ) -> None:
        handed.append((route.unit, header))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    header = signed("B", key="far")
    async with opened() as scene, served(scene, forward=forward) as address:
        async with dialled(address) as channel:
            send = channel.unary_unary(SEND)
            assert await send(b"far", metadata=((admission.ROUTE_BIN, header),)) == b"stored there"
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await send(b"far", metadata=forwarded_metadata(header))
            assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        status, _ = await http(scene, "far", to_text(header), forward=forward_http)
        assert status == 200
        again = (admission.FORWARDED.encode(), b"1")
        status, _ = await http(scene, "far", to_text(header), again, forward=forward_http)
        assert status == 421
    assert handed == [("B", header)] * 2


async def test_nothing_is_acknowledged_that_the_unit_must_not() -> None:
    """The lease ends while the method runs: whoever asked is told that it may have happened."""
    async with opened() as scene, served(scene) as address:
        scene.loses_lease = True
        async with dialled(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary(SEND)(b"here")
        assert failed.value.code() is grpc.StatusCode.UNKNOWN
        assert refusal(failed.value).verdict == admission.UNCONFIRMED
    async with opened() as scene:
        scene.loses_lease = True
        status, told = await http(scene, "here")
        assert (status, told[admission.VERDICT]) == (503, admission.UNCONFIRMED)


async def test_a_lease_that_ends_after_the_answer_takes_nothing_back() -> None:
    """The permit was confirmed before the first byte left; what follows is the same answer."""
    async with opened() as scene:
        sent: list[Any] = []

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 201, "headers": []})
            scene.unit.fence.lose_lease()
            await send({"type": "http.response.body", "body": b"stored"})

        async def receive() -> Any:
            raise AssertionError("there is no body")

        async def send(event: Any) -> None:
            sent.append(event)

        guarded = RoutingMiddleware(app, scene.unit, lambda _scope: (D, "here"))
        await guarded({"type": "http", "path": "/", "headers": []}, receive, send)
        assert [one.get("status", one.get("body")) for one in sent] == [201, b"stored"]


async def test_a_stream_is_decided_on_when_it_begins() -> None:
    async with (
        opened() as scene,
        served(scene) as address,
        dialled(address) as channel,
    ):
        follow = channel.unary_stream(FOLLOW)
        assert [one async for one in follow(b"here")] == [b"here"]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            assert not [one async for one in follow(b"far")]
        assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.stream_unary(UPLOAD)(iter([b"here"]))
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_clients_send_the_header_that_came_with_the_last_answer() -> None:
    async with opened() as scene, served(scene) as address:
        for blocking in (False, True):
            scene.seen_headers.clear()
            routes = KeptRoutes(clock=lambda: NOW_S)
            await _twice(address, routes, blocking=blocking)
            first, second = scene.seen_headers
            assert first == b"" and scene.verifier.verify(second, NOW_S).key == "here"
            assert routes.unit(D, "here") == "A"
            assert routes.unit(D, "far") == "B", "what a refusal told is kept, too"


async def _twice(address: str, routes: KeptRoutes, *, blocking: bool) -> None:
    if not blocking:
        adding = aio_interceptors(routes, ROUTED)
        async with dialled(address, interceptors=adding) as channel:
            send = channel.unary_unary(SEND)
            assert [await send(b"here"), await send(b"here")] == [b"stored"] * 2
            with pytest.raises(grpc.aio.AioRpcError):
                await send(b"far")
        return

    def ask() -> None:
        with grpc.insecure_channel(address) as plain:
            channel: Any = grpc.intercept_channel(plain, *interceptors(routes, ROUTED))
            send = channel.unary_unary(SEND)
            assert [send(b"here"), send(b"here")] == [b"stored"] * 2
            with pytest.raises(grpc.RpcError):
                send(b"far")

    await asyncio.to_thread(ask)


async def test_a_plain_function_runs_only_for_keys_that_live_here() -> None:
    async with opened() as scene:

        @routed(scene.unit, D, key=lambda message: message)
        async def accept(message: str) -> int:
            scene.accept(message)
            return len(scene.accepted)

        answer = await accept("here")
        assert answer.result == 1 and scene.verifier.verify(answer.header, NOW_S).unit == "A"
        with pytest.raises(LivesElsewhere) as elsewhere:
            await accept("far")
        assert elsewhere.value.route.unit == "B"
        with pytest.raises(NotBound):
            await accept("nowhere")
        scene.chats.cut = True
        scene.table.write("new", "A", 0.0)
        with pytest.raises(ComeAgain):
            await accept("new")
        scene.loses_lease = True
        with pytest.raises(NotConfirmed):
            await accept("here")
        assert scene.accepted == [("here", 1)] * 2


def test_outside_of_a_message_there_is_no_permit() -> None:
    with pytest.raises(InvalidArgument):
        current()
