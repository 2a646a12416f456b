"""Types of the generated gRPC code: stubs are asked one by one.

Who serves adds handlers of its own, for what is streamed is encoded once for all streams.
"""

import grpc
from globaltable.v1 import routing_pb2 as pb

class RoutingServiceStub:
    def __init__(self, channel: grpc.Channel) -> None: ...
    Resolve: grpc.UnaryUnaryMultiCallable[pb.ResolveRequest, pb.ResolveResponse]
    WatchRoutes: grpc.StreamStreamMultiCallable[pb.WatchRoutesRequest, pb.WatchRoutesResponse]
    GetPolicy: grpc.UnaryUnaryMultiCallable[pb.GetPolicyRequest, pb.PolicyResponse]
    SetPolicy: grpc.UnaryUnaryMultiCallable[pb.SetPolicyRequest, pb.PolicyResponse]
    ListUnits: grpc.UnaryUnaryMultiCallable[pb.ListUnitsRequest, pb.ListUnitsResponse]
    DrainUnit: grpc.UnaryUnaryMultiCallable[pb.DrainUnitRequest, pb.DrainUnitResponse]
