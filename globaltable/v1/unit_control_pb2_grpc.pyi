"""Types of the generated gRPC code: servicers and stubs are asynchronous."""

from typing import Any

import grpc.aio
from globaltable.v1 import unit_control_pb2 as pb

_Context = grpc.aio.ServicerContext[Any, Any]

class UnitControlServiceStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    Drain: grpc.aio.UnaryUnaryMultiCallable[pb.DrainKeysRequest, pb.UnitReplies]
    Receive: grpc.aio.UnaryUnaryMultiCallable[pb.ReceiveKeysRequest, pb.UnitReplies]
    Settle: grpc.aio.UnaryUnaryMultiCallable[pb.SettleKeysRequest, pb.UnitReplies]

class UnitControlServiceServicer:
    async def Drain(self, request: pb.DrainKeysRequest, context: _Context) -> pb.UnitReplies: ...
    async def Receive(
        self, request: pb.ReceiveKeysRequest, context: _Context
    ) -> pb.UnitReplies: ...
    async def Settle(self, request: pb.SettleKeysRequest, context: _Context) -> pb.UnitReplies: ...

def add_UnitControlServiceServicer_to_server(
    servicer: UnitControlServiceServicer, server: grpc.aio.Server
) -> None: ...
