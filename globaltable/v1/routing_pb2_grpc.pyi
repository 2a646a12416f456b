"""Types of the generated gRPC code: servicers are asynchronous, stubs are asked one by one."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from globaltable.v1 import routing_pb2 as pb

_Context = grpc.aio.ServicerContext[Any, Any]

class RoutingServiceStub:
    def __init__(self, channel: grpc.Channel) -> None: ...
    Resolve: grpc.UnaryUnaryMultiCallable[pb.ResolveRequest, pb.ResolveResponse]
    WatchRoutes: grpc.StreamStreamMultiCallable[pb.WatchRoutesRequest, pb.WatchRoutesResponse]
    GetPolicy: grpc.UnaryUnaryMultiCallable[pb.GetPolicyRequest, pb.PolicyResponse]
    SetPolicy: grpc.UnaryUnaryMultiCallable[pb.SetPolicyRequest, pb.PolicyResponse]
    ListUnits: grpc.UnaryUnaryMultiCallable[pb.ListUnitsRequest, pb.ListUnitsResponse]
    DrainUnit: grpc.UnaryUnaryMultiCallable[pb.DrainUnitRequest, pb.DrainUnitResponse]

class RoutingServiceServicer:
    async def Resolve(
        self, request: pb.ResolveRequest, context: _Context
    ) -> pb.ResolveResponse: ...
    def WatchRoutes(
        self, requests: AsyncIterator[pb.WatchRoutesRequest], context: _Context
    ) -> AsyncIterator[pb.WatchRoutesResponse]: ...
    async def GetPolicy(
        self, request: pb.GetPolicyRequest, context: _Context
    ) -> pb.PolicyResponse: ...
    async def SetPolicy(
        self, request: pb.SetPolicyRequest, context: _Context
    ) -> pb.PolicyResponse: ...
    async def ListUnits(
        self, request: pb.ListUnitsRequest, context: _Context
    ) -> pb.ListUnitsResponse: ...
    async def DrainUnit(
        self, request: pb.DrainUnitRequest, context: _Context
    ) -> pb.DrainUnitResponse: ...

def add_RoutingServiceServicer_to_server(
    servicer: RoutingServiceServicer, server: grpc.aio.Server
) -> None: ...
