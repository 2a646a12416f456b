"""A node's console as it lives: from `start` to `close`, on the node's own loop."""

import asyncio
from collections.abc import Collection
from typing import Any

import structlog

from globaltable.server.admin import AdminService
from globaltable.server.backend import NodeBackend
from globaltable.server.config import Address, Config
from globaltable.server.console.app import console_app
from globaltable.server.console.calls import Calls, Handlers
from globaltable.server.console.connections import Connections
from globaltable.server.console.desk import Desk
from globaltable.server.console.stream import Streams
from globaltable.server.console.survey import Survey
from globaltable.server.core import NodeCore
from globaltable.server.gate import Gate
from globaltable.server.live_topology import LiveTopology
from globaltable.server.measures import Measures
from globaltable.server.service import GlobalTableService
from globaltable.server.tls import Certificates
from globaltable.v1 import admin_pb2_grpc
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

log = structlog.get_logger(__name__)


class Console:
    """Of one node."""

    def __init__(
        self,
        address: Address,
        *,
        config: Config,
        core: NodeCore,
        backend: NodeBackend,
        live: LiveTopology,
        measures: Measures,
        service: GlobalTableService,
        admin: AdminService,
        gate: Gate | None,
        certificates: Certificates | None,
    ) -> None:
        handlers = Handlers()
        server: Any = handlers
        pb_grpc.add_GlobalTableServiceServicer_to_server(service, server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)
        self._survey = Survey(
            node=core.node,
            status=backend.status,
            commit=measures.commit,
            topology=lambda: live.newest,
            certificates=certificates,
        )
        desk = Desk(
            config=config,
            core=core,
            live=live,
            survey=self._survey,
            calls=Calls(handlers, gate),
            gate=gate,
            asks_who=certificates is not None,
        )
        self._streams = Streams(desk)
        application = console_app(desk, self._streams, names_of(config))
        self._connections = Connections(address, application, certificates)
        self._surveying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises `StorageError` if its address cannot be listened on."""
        await self._connections.start()
        self._surveying = asyncio.create_task(self._survey.run())
        log.info("console", url=self._connections.url)

    async def close(self) -> None:
        self._streams.close()
        await self._connections.close()
        if self._surveying is not None:
            self._surveying.cancel()
            await asyncio.gather(self._surveying, return_exceptions=True)
        await self._survey.close()


def names_of(config: Config) -> Collection[str]:
    """What browsers may call a console, beside its addresses: this machine's own name for itself,
    and what the file calls nodes by."""
    addresses = [
        address.host.lower()
        for node in config.nodes
        for address in (node.peer, node.client, node.console)
        if address is not None
    ]
    return {"localhost", *addresses, *config.console.hosts}
