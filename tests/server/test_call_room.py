"""Promise: no more calls are under way than there is room for, whatever becomes of them; and who is
refused is told so in the node's own words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from globaltable.server.call_room import RETRY_S, CallRoom
from globaltable.server.refusals import ERROR_TRAILER
from globaltable.v1 import globaltable_pb2 as pb

TIMEOUT_S = 5.0
CALLS = 2


class Scene(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Methods that wait, fail, answer once or stream, behind a room for `CALLS` calls."""

    def __init__(self) -> None:
        self.room = CallRoom(CALLS)
        self.entered = 0
        self.goes_on = asyncio.Event()
        self.channel: Any = None

    def service(self, details: Any) -> Any:
        makers = {
            "/t/Wait": grpc.unary_unary_rpc_method_handler(self._wait),
            "/t/Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "/t/Stream": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        return makers.get(details.method)

    async def _wait(self, request: bytes, context: Any) -> bytes:
        self.entered += 1
        await self.goes_on.wait()
        return b"done"

    async def _fail(self, request: bytes, context: Any) -> bytes:
        self.entered += 1
        raise ValueError("a mistake of the handler's")

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.entered += 1
        async for request in requests:
            yield request

    async def until(self, calls: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.room.calls != calls:
                await asyncio.sleep(0.01)

    async def refused(self, method: str) -> pb.ErrorDetail:
        call = self.channel.unary_unary(method)(b"", timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        metadata: Any = error.value.trailing_metadata()
        return pb.ErrorDetail.FromString(dict(metadata)[ERROR_TRAILER])


@asynccontextmanager
async def opened() -> AsyncIterator[Scene]:
    scene = Scene()
    server = grpc.aio.server(interceptors=[scene.room])
    server.add_generic_rpc_handlers((scene,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as scene.channel:
            yield scene
    finally:
        await server.stop(None)


async def test_beyond_the_room_a_call_is_refused_with_the_time_to_come_back() -> None:
    async with opened() as scene:
        waiting = [scene.channel.unary_unary("/t/Wait")(b"") for _ in range(CALLS)]
        await scene.until(CALLS)
        delays_ms = set()
        for number in range(1, 11):
            detail = await scene.refused("/t/Wait" if number % 2 else "/t/Fail")
            assert detail.reason == pb.ErrorDetail.REASON_OVERLOADED
            assert RETRY_S * 1_000 <= detail.retry_delay_ms <= 2 * RETRY_S * 1_000 + 1
            delays_ms.add(detail.retry_delay_ms)
            assert scene.room.refused == number and scene.entered == CALLS
        assert len(delays_ms) > 3, "who is refused at once does not come back at once"
        scene.goes_on.set()
        assert [await one for one in waiting] == [b"done"] * CALLS
        await scene.until(0)
        assert await scene.channel.unary_unary("/t/Wait")(b"") == b"done"


async def test_room_is_given_back_however_a_call_ends() -> None:
    async with opened() as scene:
        for _ in range(3 * CALLS):
            with pytest.raises(grpc.aio.AioRpcError):
                await scene.channel.unary_unary("/t/Fail")(b"", timeout=TIMEOUT_S)
        await scene.until(0)
        for _ in range(CALLS):
            call = scene.channel.unary_unary("/t/Wait")(b"")
            await scene.until(1)
            call.cancel()
            await scene.until(0)
        streams = [scene.channel.stream_stream("/t/Stream")() for _ in range(CALLS)]
        for stream in streams:
            await stream.write(b"x")
            assert await stream.read() == b"x"
        await scene.refused("/t/Wait")
        streams[0].cancel()
        await scene.until(1)
        await streams[1].done_writing()
        await scene.until(0)
        assert scene.room.refused == 1


async def test_a_method_that_there_is_not_takes_no_room() -> None:
    async with opened() as scene:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await scene.channel.unary_unary("/t/None")(b"", timeout=TIMEOUT_S)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert (scene.room.calls, scene.room.refused) == (0, 0)
