"""A user's end: sends until it is told that the message is stored, follows chats wherever they go.

It keeps the route header that came with the last answer, so most messages go straight to their
unit; one that it knows nothing about goes to the unit nearby, which hands it on.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import grpc

from examples.im import im_pb2, im_pb2_grpc
from examples.im.service import DIMENSION, ROUTED
from globaltable.routing.integrations.grpc_client import KeptRoutes, aio_interceptors, refusal

TIMEOUT_S = 2.0
PAUSE_S = 0.05
PATIENCE_S = 30.0


class ChatClient:
    """For one user, near the unit `near`."""

    def __init__(self, units: Mapping[str, str], near: str) -> None:
        self.near = near
        self.sent_again = 0
        """How many attempts to send did not end with an answer."""
        self._routes = KeptRoutes()
        self._channels = {
            unit: grpc.aio.insecure_channel(
                address,
                [("grpc.max_reconnect_backoff_ms", 500)],
                interceptors=aio_interceptors(self._routes, ROUTED),
            )
            for unit, address in units.items()
        }
        self._stubs: dict[str, Any] = {
            unit: im_pb2_grpc.ChatsStub(channel)  # type: ignore[no-untyped-call]
            for unit, channel in self._channels.items()
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    def _stub(self, chat: str, ask_nearby: bool) -> Any:
        unit = None if ask_nearby else self._routes.unit(DIMENSION, chat)
        return self._stubs[unit or self.near]

    async def create(self, chat: str) -> str:
        """Create a chat nearby; the unit that has it, whoever was first."""
        response = await self._stubs[self.near].Create(
            im_pb2.CreateRequest(chat=chat), timeout=PATIENCE_S
        )
        return str(response.unit)

    async def send(self, chat: str, text: str) -> tuple[str, int]:
        """Store a message once; its id and its number in the chat."""
        message_id = uuid.uuid4().hex  # the same at each attempt, so that none stores it twice
        request = im_pb2.SendRequest(chat=chat, message_id=message_id, text=text)
        ask_nearby = False
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    stub = self._stub(chat, ask_nearby)
                    response = await stub.Send(request, timeout=TIMEOUT_S)
                except grpc.aio.AioRpcError as error:
                    self.sent_again += 1
                    ask_nearby = await self._paused(error)
                else:
                    return message_id, int(response.number)

    async def follow(self, chat: str, after: int = 0) -> AsyncIterator[im_pb2.Message]:
        """Each message of a chat in order, without end; wherever the chat goes."""
        ask_nearby = False
        while True:
            request = im_pb2.FollowRequest(chat=chat, after=after)
            try:
                async for message in self._stub(chat, ask_nearby).Follow(request):
                    yield message
                    after = message.number
            except grpc.aio.AioRpcError as error:
                self._routes.take(DIMENSION, chat, error.trailing_metadata())
                ask_nearby = await self._paused(error)

    async def _paused(self, error: grpc.aio.AioRpcError) -> bool:
        """Wait as long as a refusal says. True if it was none: the unit may be gone for good."""
        told = refusal(error)
        if told.verdict not in ("moved", "forward"):  # else its new place is known by now
            await asyncio.sleep(told.retry_after_s or PAUSE_S)
        return not told.verdict
