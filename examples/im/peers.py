"""The other units, as one unit reaches them: messages are handed on, moved chats are fetched."""

from collections.abc import Mapping
from typing import Any

import grpc

from examples.im import im_pb2, im_pb2_grpc
from examples.im.storage import Row, Storage
from globaltable.routing.handover import Handover
from globaltable.routing.integrations.grpc import forwarded_metadata
from globaltable.routing.route import Route

TIMEOUT_S = 5.0


class Peers:
    """A channel to each unit. Close it in the end."""

    def __init__(self, units: Mapping[str, str], storage: Storage) -> None:
        self._storage = storage
        self._channels = {
            unit: grpc.aio.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 500)])
            for unit, address in units.items()
        }
        self._stubs: dict[str, Any] = {
            unit: im_pb2_grpc.ChatsStub(channel)  # type: ignore[no-untyped-call]
            for unit, channel in self._channels.items()
        }

    async def forward(self, _method: str, request: Any, route: Route, header: bytes) -> Any:
        """Hand a message on. `Send` is the only method that gets here: streams are redirected."""
        return await self._stubs[route.unit].Send(
            request, metadata=forwarded_metadata(header), timeout=TIMEOUT_S
        )

    async def receive(self, _dimension: str, handover: Handover) -> None:
        """Fetch a chat that moves here. All in one message: a real service would stream it."""
        request = im_pb2.ExportRequest(chat=handover.key, version=handover.version)
        response = await self._stubs[handover.source].Export(request, timeout=TIMEOUT_S)
        rows = [Row(one.number, one.message_id, one.text, one.unit) for one in response.messages]
        await self._storage.take_in(handover.key, handover.version, rows)

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)
