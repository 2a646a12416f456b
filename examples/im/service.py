"""What a unit serves. Routing has decided before `Send` runs: the chat is ours, under a permit."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from examples.im import im_pb2, im_pb2_grpc
from examples.im.storage import Gone, Storage
from globaltable.client import GlobalTable
from globaltable.routing.client.unit import Unit
from globaltable.routing.integrations.admission import admitted, current

DIMENSION = "chat"
ROUTED = {
    "/examples.im.Chats/Send": lambda request: (DIMENSION, request.chat),
    "/examples.im.Chats/Follow": lambda request: (DIMENSION, request.chat),
}
"""The methods that go to a chat's unit, and how a request names its chat."""

LOOK_AGAIN_S = 0.5
"""How soon a follower notices that its chat has moved, if nobody writes."""

SLOW_SHARE = 0.1
SLOW_S = 0.2

Context = grpc.aio.ServicerContext[Any, Any]


async def screen() -> None:
    """Stands for what a service asks others before it takes a message, which now and then is slow.

    The permit covers it: a move waits until the message is stored, or without the permit it would
    be stored in a unit that has given the chat away, and lost.
    """
    if random.random() < SLOW_SHARE:
        await asyncio.sleep(SLOW_S)


class News:
    """Wakes those who follow a chat."""

    def __init__(self) -> None:
        self._followers: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def following(self, chat: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._followers.setdefault(chat, set()).add(event)
        try:
            yield event
        finally:
            self._followers[chat].remove(event)
            if not self._followers[chat]:
                del self._followers[chat]

    def tell(self, chat: str) -> None:
        for event in self._followers.get(chat, ()):
            event.set()


class ChatService(im_pb2_grpc.ChatsServicer):
    """The chats of one unit."""

    def __init__(self, unit: Unit, chats: GlobalTable, storage: Storage) -> None:
        self._unit = unit
        self._chats = chats
        self._storage = storage
        self._news = News()

    async def Create(  # noqa: N802
        self, request: im_pb2.CreateRequest, _context: Context
    ) -> im_pb2.CreateResponse:
        # Whoever else creates it now, in whatever unit, is told the same winner.
        binding = await self._chats.bind(request.chat, self._unit.name)
        return im_pb2.CreateResponse(unit=binding.unit, created=binding.created)

    async def Send(  # noqa: N802
        self, request: im_pb2.SendRequest, _context: Context
    ) -> im_pb2.SendResponse:
        version = current().permit.version
        await screen()
        number = await self._storage.add(request.chat, request.message_id, request.text, version)
        self._news.tell(request.chat)
        return im_pb2.SendResponse(number=number)

    async def Follow(  # noqa: N802
        self, request: im_pb2.FollowRequest, _context: Context
    ) -> AsyncIterator[im_pb2.Message]:
        chat, after = request.chat, request.after
        with self._news.following(chat) as news:
            while True:
                news.clear()
                # Read under a permit: else it might be the copy that a move has left behind.
                async with admitted(self._unit, DIMENSION, chat):
                    rows = await self._storage.read(chat, after)
                for row in rows:
                    yield im_pb2.Message(**row._asdict())
                    after = row.number
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), LOOK_AGAIN_S)

    async def Export(  # noqa: N802
        self, request: im_pb2.ExportRequest, context: Context
    ) -> im_pb2.ExportResponse:
        try:
            rows = await self._storage.export(request.chat, request.version)
        except Gone as gone:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(gone))
        return im_pb2.ExportResponse(messages=[im_pb2.Message(**row._asdict()) for row in rows])
