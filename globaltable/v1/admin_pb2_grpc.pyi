"""Types of the generated gRPC code: servicers are asynchronous, stubs are asked one by one."""

from typing import Any

import grpc
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import globaltable_pb2 as public_pb

_Context = grpc.aio.ServicerContext[Any, Any]

class AdminServiceStub:
    def __init__(self, channel: grpc.Channel) -> None: ...
    Describe: grpc.UnaryUnaryMultiCallable[pb.DescribeRequest, pb.DescribeResponse]
    Backup: grpc.UnaryStreamMultiCallable[pb.BackupRequest, pb.BackupPart]
    BeginRestore: grpc.UnaryUnaryMultiCallable[pb.BeginRestoreRequest, pb.RestoreStanding]
    FindRow: grpc.UnaryUnaryMultiCallable[pb.FindRowRequest, pb.FindRowResponse]
    NoteRestore: grpc.UnaryUnaryMultiCallable[pb.NoteRestoreRequest, pb.RestoreStanding]
    Import: grpc.UnaryUnaryMultiCallable[pb.ImportRequest, pb.ImportResponse]
    Barrier: grpc.UnaryUnaryMultiCallable[pb.BarrierRequest, pb.BarrierResponse]
    Digest: grpc.UnaryStreamMultiCallable[pb.DigestRequest, pb.DigestPart]
    GetTopology: grpc.UnaryUnaryMultiCallable[pb.GetTopologyRequest, pb.TopologyStanding]
    ChangeTopology: grpc.UnaryUnaryMultiCallable[pb.ChangeTopologyRequest, pb.TopologyStanding]
    NoteLevel: grpc.UnaryUnaryMultiCallable[pb.NoteLevelRequest, pb.LevelsStanding]
    GetStatus: grpc.UnaryUnaryMultiCallable[public_pb.StatusRequest, public_pb.StatusResponse]

class AdminServiceServicer:
    async def Describe(
        self, request: pb.DescribeRequest, context: _Context
    ) -> pb.DescribeResponse: ...
    async def Backup(self, request: pb.BackupRequest, context: _Context) -> None: ...
    async def BeginRestore(
        self, request: pb.BeginRestoreRequest, context: _Context
    ) -> pb.RestoreStanding: ...
    async def FindRow(
        self, request: pb.FindRowRequest, context: _Context
    ) -> pb.FindRowResponse: ...
    async def NoteRestore(
        self, request: pb.NoteRestoreRequest, context: _Context
    ) -> pb.RestoreStanding: ...
    async def Import(self, request: pb.ImportRequest, context: _Context) -> pb.ImportResponse: ...
    async def Barrier(
        self, request: pb.BarrierRequest, context: _Context
    ) -> pb.BarrierResponse: ...
    async def Digest(self, request: pb.DigestRequest, context: _Context) -> None: ...
    async def GetTopology(
        self, request: pb.GetTopologyRequest, context: _Context
    ) -> pb.TopologyStanding: ...
    async def ChangeTopology(
        self, request: pb.ChangeTopologyRequest, context: _Context
    ) -> pb.TopologyStanding: ...
    async def NoteLevel(
        self, request: pb.NoteLevelRequest, context: _Context
    ) -> pb.LevelsStanding: ...
    async def GetStatus(
        self, request: public_pb.StatusRequest, context: _Context
    ) -> public_pb.StatusResponse: ...

def add_AdminServiceServicer_to_server(
    servicer: AdminServiceServicer, server: grpc.aio.Server | grpc.Server
) -> None: ...
