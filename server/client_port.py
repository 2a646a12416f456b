"""The gRPC server of a node: what clients, admins and probes call, and within which bounds."""

from typing import Final, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from globaltable import limits
from globaltable.errors import StorageError
from globaltable.server.admin import ADMIN_SERVICE_NAME, AdminService
from globaltable.server.call_room import REFUSALS_PER_CALL, CallRoom
from globaltable.server.config import NodeConfig
from globaltable.server.gate import Gate
from globaltable.server.health import Health
from globaltable.server.service import GlobalTableService
from globaltable.server.tls import Certificates
from globaltable.v1 import admin_pb2_grpc
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

SERVICE_NAME: Final = "globaltable.v1.GlobalTableService"
CLIENT_PING_MS: Final = 60_000
"""So often a client's connection is tried on which nothing comes ..."""
CLIENT_PONG_MS: Final = 20_000
"""... and closed, with its streams, if no answer comes for so long."""
HANDSHAKE_TIMEOUT_MS: Final = 10_000


class ClientServices(NamedTuple):
    """What can be called."""

    table: GlobalTableService
    admin: AdminService
    health: Health


def client_port(
    own: NodeConfig,
    calls: int,
    services: ClientServices,
    *,
    room: CallRoom,
    gate: Gate | None,
    certificates: Certificates | None,
) -> grpc.aio.Server:
    """A server that listens where the node is to, and is to be started. Raises `StorageError` if
    it cannot."""
    server = grpc.aio.server(
        interceptors=[room, *([gate] if gate is not None else [])],
        maximum_concurrent_rpcs=REFUSALS_PER_CALL * calls,
        options=[
            ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            # A client whose machine is gone says nothing of it.
            ("grpc.keepalive_time_ms", CLIENT_PING_MS),
            ("grpc.keepalive_timeout_ms", CLIENT_PONG_MS),
            # Who connects and says nothing is not waited for.
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
            *(gate.options if gate is not None else ()),
            ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ],
    )
    pb_grpc.add_GlobalTableServiceServicer_to_server(services.table, server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(services.admin, server)
    health_pb2_grpc.add_HealthServicer_to_server(services.health.servicer, server)
    names = (SERVICE_NAME, ADMIN_SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    address = str(own.listens_for_clients_on)
    try:
        if certificates is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, certificates.grpc_credentials())
            if own.tokens is not None:
                address = str(own.tokens)
                server.add_secure_port(address, certificates.grpc_credentials(asks=False))
    except RuntimeError as error:
        raise StorageError(
            f"client address {address} of node {own.name} cannot be listened on; "
            "is another process using it?"
        ) from error
    return server
