"""The process of one unit: `python -m examples.im.unit A im.toml`."""

import asyncio
import signal
import sys
from pathlib import Path

import grpc

from examples.im import im_pb2_grpc, settings
from examples.im.peers import Peers
from examples.im.service import DIMENSION, ROUTED, ChatService
from examples.im.settings import AUDIENCE, TABLE, Settings
from examples.im.storage import Storage
from globaltable.client import GlobalTable
from globaltable.errors import GlobalTableError
from globaltable.routing.client import roots
from globaltable.routing.integrations.grpc import RoutingInterceptor
from globaltable.routing.service.unit_host import open_unit

TIDY_S = 0.5


async def serve(name: str, conf: Settings) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    storage = Storage(conf.messages(name), name)
    peers = Peers(conf.units, storage)
    async with open_unit(
        name,
        endpoints=conf.endpoints,
        dimensions={DIMENSION: TABLE},
        audience=AUDIENCE,
        roots=roots.load(conf.roots),
        fence=conf.fence(name),
        receive=peers.receive,
    ) as hosted:
        chats = hosted.tables[DIMENSION]
        routing = RoutingInterceptor(hosted.unit, ROUTED, forward=peers.forward)
        server = grpc.aio.server(interceptors=[routing])
        im_pb2_grpc.add_ChatsServicer_to_server(  # type: ignore[no-untyped-call]
            ChatService(hosted.unit, chats, storage), server
        )
        server.add_insecure_port(conf.units[name])
        await server.start()
        tidying = asyncio.create_task(tidy(name, chats, storage))
        await stop.wait()
        tidying.cancel()
        await server.stop(grace=1.0)
    await peers.close()
    storage.close()


async def tidy(name: str, chats: GlobalTable, storage: Storage) -> None:
    """Remove what moves have left behind. How old an answer is does not matter: it says at which
    version the chat lived elsewhere, and a copy that has come back since is held at a higher one.
    """
    while True:
        await asyncio.sleep(TIDY_S)
        try:
            bindings = await chats.get_many(await storage.held())
        except GlobalTableError:
            continue  # later, then
        elsewhere = {key: one.version for key, one in bindings.items() if one.unit != name}
        await storage.remove_left(elsewhere)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], settings.load(Path(sys.argv[2]))))
