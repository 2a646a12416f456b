"""Types of the generated gRPC code, for both the synchronous and the asynchronous library."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from globaltable.v1 import globaltable_pb2 as pb

_Context = grpc.aio.ServicerContext[Any, Any]

class GlobalTableServiceStub:
    def __init__(self, channel: grpc.Channel) -> None: ...
    Write: grpc.UnaryUnaryMultiCallable[pb.WriteRequest, pb.WriteResponse]
    Read: grpc.UnaryUnaryMultiCallable[pb.ReadRequest, pb.ReadResponse]
    Scan: grpc.UnaryUnaryMultiCallable[pb.ScanRequest, pb.ScanResponse]
    Watch: grpc.UnaryStreamMultiCallable[pb.WatchRequest, pb.WatchResponse]
    Status: grpc.UnaryUnaryMultiCallable[pb.StatusRequest, pb.StatusResponse]
    Placement: grpc.UnaryUnaryMultiCallable[pb.PlacementRequest, pb.PlacementResponse]
    Topology: grpc.UnaryUnaryMultiCallable[pb.TopologyRequest, pb.TopologyResponse]

class GlobalTableServiceServicer:
    async def Write(self, request: pb.WriteRequest, context: _Context) -> pb.WriteResponse: ...
    async def Read(self, request: pb.ReadRequest, context: _Context) -> pb.ReadResponse: ...
    async def Scan(self, request: pb.ScanRequest, context: _Context) -> pb.ScanResponse: ...
    def Watch(
        self, request: pb.WatchRequest, context: _Context
    ) -> AsyncIterator[pb.WatchResponse]: ...
    async def Status(self, request: pb.StatusRequest, context: _Context) -> pb.StatusResponse: ...
    async def Placement(
        self, request: pb.PlacementRequest, context: _Context
    ) -> pb.PlacementResponse: ...

def add_GlobalTableServiceServicer_to_server(
    servicer: GlobalTableServiceServicer, server: grpc.aio.Server | grpc.Server
) -> None: ...
