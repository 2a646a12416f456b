"""The admin API: what an operator asks of this node, over what does it.

Invariant: a call that streams ends, and gives back what it holds, when its caller goes away, takes
nothing for `STALLED_S`, or the node stops.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final, NoReturn

import grpc
import structlog

from globaltable import __version__
from globaltable.errors import (
    Corrupt,
    GlobalTableError,
    InvalidArgument,
    NoQuorum,
    Overloaded,
    Rejected,
    Unavailable,
)
from globaltable.server.backend import NodeBackend
from globaltable.server.backups import Backups
from globaltable.server.core import NodeCore
from globaltable.server.digests import Digests
from globaltable.server.level_raising import LevelRaising
from globaltable.server.live_topology import LiveTopology
from globaltable.server.reading import TableReaders
from globaltable.server.refusals import overloaded, refuse
from globaltable.server.restores import Restores
from globaltable.server.slot_groups import SlotGroups
from globaltable.server.tls import Certificates
from globaltable.server.topology_asked import change_asked, topology_standing
from globaltable.server.topology_changes import TopologyChanges
from globaltable.server.worker import TableWorker
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc
from globaltable.v1 import globaltable_pb2 as public_pb

ADMIN_SERVICE_NAME: Final = "globaltable.v1.AdminService"
STALLED_S: Final = 60.0

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)


def _code_of(error: GlobalTableError) -> grpc.StatusCode:
    match error:
        case InvalidArgument():
            return grpc.StatusCode.INVALID_ARGUMENT
        case Rejected():
            return grpc.StatusCode.FAILED_PRECONDITION
        case Overloaded():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case Unavailable():
            return grpc.StatusCode.UNAVAILABLE
        case Corrupt():
            return grpc.StatusCode.DATA_LOSS
        case _:
            return grpc.StatusCode.INTERNAL


async def _abort(context: Context, error: GlobalTableError) -> NoReturn:
    if isinstance(error, Overloaded):
        await refuse(context, _code_of(error), overloaded(str(error), error.retry_delay_s))
    await context.abort(_code_of(error), str(error))
    raise AssertionError("abort does not return")


class AdminService(pb_grpc.AdminServiceServicer):
    """`globaltable.v1.AdminService` of one node."""

    def __init__(
        self,
        *,
        cluster_id: str,
        core: NodeCore,
        backend: NodeBackend,
        worker: TableWorker,
        store: LmdbTableStore,
        live: LiveTopology,
        steps: SlotGroups,
        certificates: Certificates | None,
    ) -> None:
        self._cluster_id = cluster_id
        self._core = core
        self._backend = backend
        readers = TableReaders(store, worker)
        self._backups = Backups(core, backend, worker, readers)
        self._digests = Digests(core, readers)
        self._restores = Restores(core, backend)
        self._live = live
        self._changes = TopologyChanges(core, backend, live)
        self._raising = LevelRaising(core.node, live, self._changes, certificates)
        self._steps = steps
        self._draining = False

    def drain(self) -> None:
        """Streams end at their next part: whoever wants the whole asks another node."""
        self._draining = True

    async def close(self) -> None:
        await self._raising.close()

    # Names are the service's. --------------------------------------------------------------------

    async def Describe(  # noqa: N802
        self, request: pb.DescribeRequest, context: Context
    ) -> pb.DescribeResponse:
        core, topology = self._core, self._core.topology
        return pb.DescribeResponse(
            cluster=topology.cluster,
            cluster_id=self._cluster_id,
            node=core.node,
            region=topology.region_of[core.node],
            version=__version__,
            tables=self._backend.tables,
            slots=topology.slots,
            groups=len(topology.groups),
            held=[
                pb.HeldGroup(
                    group=group,
                    applied_revision=replica.table.applied if replica is not None else 0,
                    refusal=core.refusal(group),
                )
                for group in sorted({*core.replicas, *core.failures})
                for replica in (core.replicas.get(group),)
            ],
        )

    async def Backup(self, request: pb.BackupRequest, context: Context) -> None:  # noqa: N802
        log.info("backup begins", groups=list(request.groups))
        await self._stream(self._backups.parts(request.groups), context)
        log.info("backup ends", groups=list(request.groups))

    async def Digest(self, request: pb.DigestRequest, context: Context) -> None:  # noqa: N802
        parts = self._digests.parts(request.group, request.revision, request.slots)
        await self._stream(parts, context)

    async def _stream(self, parts: AsyncGenerator[Any, None], context: Context) -> None:
        try:
            async for part in parts:
                if self._draining:
                    raise NoQuorum("this node is stopping")
                async with asyncio.timeout(STALLED_S):
                    await context.write(part)
        except GlobalTableError as error:
            await _abort(context, error)
        except TimeoutError:
            await _abort(context, NoQuorum(f"nothing was taken for {STALLED_S:.0f} s"))
        finally:
            await parts.aclose()

    async def BeginRestore(  # noqa: N802
        self, request: pb.BeginRestoreRequest, context: Context
    ) -> pb.RestoreStanding:
        try:
            return await self._restores.begin(request)
        except GlobalTableError as error:
            await _abort(context, error)

    async def FindRow(  # noqa: N802
        self, request: pb.FindRowRequest, context: Context
    ) -> pb.FindRowResponse:
        try:
            return await self._restores.find(request.group)
        except GlobalTableError as error:
            await _abort(context, error)

    async def NoteRestore(  # noqa: N802
        self, request: pb.NoteRestoreRequest, context: Context
    ) -> pb.RestoreStanding:
        try:
            return await self._restores.note(request)
        except GlobalTableError as error:
            await _abort(context, error)

    async def Import(  # noqa: N802
        self, request: pb.ImportRequest, context: Context
    ) -> pb.ImportResponse:
        try:
            return await self._restores.bring_in(request)
        except GlobalTableError as error:
            await _abort(context, error)

    async def Barrier(  # noqa: N802
        self, request: pb.BarrierRequest, context: Context
    ) -> pb.BarrierResponse:
        try:
            replica = self._core.serving(request.group)
            await self._backend.barrier_of([request.group], context.time_remaining())
            return pb.BarrierResponse(applied_revision=replica.table.applied)
        except GlobalTableError as error:
            await _abort(context, error)

    async def GetTopology(  # noqa: N802
        self, request: pb.GetTopologyRequest, context: Context
    ) -> pb.TopologyStanding:
        return topology_standing(self._core, self._live, self._backend.round_trips())

    async def ChangeTopology(  # noqa: N802
        self, request: pb.ChangeTopologyRequest, context: Context
    ) -> pb.TopologyStanding:
        try:
            if request.WhichOneof("change") == "finalize":
                level = request.finalize.level
                await self._raising.raise_to(level, context.time_remaining())
            else:
                await self._changes.make(change_asked(request), context.time_remaining())
            return topology_standing(self._core, self._live, self._backend.round_trips())
        except GlobalTableError as error:
            await _abort(context, error)

    async def NoteLevel(  # noqa: N802
        self, request: pb.NoteLevelRequest, context: Context
    ) -> pb.LevelsStanding:
        try:
            return self._raising.note(request)
        except GlobalTableError as error:
            await _abort(context, error)

    async def GetHolding(  # noqa: N802
        self, request: pb.GetHoldingRequest, context: Context
    ) -> pb.HoldingStanding:
        try:
            return self._steps.standing(request)
        except GlobalTableError as error:
            await _abort(context, error)

    async def TakeStep(  # noqa: N802
        self, request: pb.TakeStepRequest, context: Context
    ) -> pb.StepOutcome:
        try:
            return await self._steps.taken(request, context.time_remaining())
        except GlobalTableError as error:
            await _abort(context, error)

    async def GetStatus(  # noqa: N802
        self, request: public_pb.StatusRequest, context: Context
    ) -> public_pb.StatusResponse:
        return self._backend.status()
