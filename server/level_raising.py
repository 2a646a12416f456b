"""Raises the level in force, if a node is asked to: who must agree, and in which order (`levels`).

Every member of the topology is asked over the admin API, this node among them; the links of peers
would do as well, but an old node has nothing to answer there. Nothing is remembered from one raise
to the next: what was noted stays noted, and to raise again asks all anew.

Invariant: the level is set in a version of the topology whose members, all of them, have noted it.
Learners and drained nodes are members. Of those that were removed none is left in a group, or the
raise is refused.
"""

import asyncio
from typing import Final, NamedTuple

import grpc
import structlog

from globaltable.errors import Rejected
from globaltable.levels import OF_BEFORE, why_not_understood
from globaltable.server.live_topology import LiveTopology
from globaltable.server.node_channels import NodeChannels
from globaltable.server.tls import Certificates
from globaltable.server.topology_asked import levels_standing
from globaltable.server.topology_changes import TopologyChanges
from globaltable.topology import Node, Topology
from globaltable.topology_change import TopologyRefused, with_level
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc

ASK_TIMEOUT_S: Final = 3.0

log = structlog.get_logger(__name__)


class _Answer(NamedTuple):
    node: str
    hindrance: str
    """Why it prevents the raise; empty if it does not."""


class LevelRaising:
    def __init__(
        self,
        node: str,
        live: LiveTopology,
        changes: TopologyChanges,
        certificates: Certificates | None,
    ) -> None:
        self._node = node
        self._live = live
        self._changes = changes
        self._channels = NodeChannels(certificates)

    async def close(self) -> None:
        await self._channels.close()

    def note(self, request: pb.NoteLevelRequest) -> pb.LevelsStanding:
        """As one of the members. Raises `Rejected`, `StorageError`."""
        if reason := why_not_understood(request.level):
            raise Rejected(reason)
        if not request.only_asked:
            self._live.note_level(request.level)
        return levels_standing(self._live)

    async def raise_to(self, level: int, timeout_s: float | None) -> None:
        """Returns once it is in force. Raises `TopologyRefused`, or `NoQuorum`."""
        before = await self._changes.current(timeout_s)
        with_level(before, level)
        if reason := why_not_understood(level):
            raise TopologyRefused(f"{self._node} cannot raise the level: {reason}")
        if unsettled := self._live.unsettled:
            raise TopologyRefused(
                f"the last change (version {before.version}) is under way: groups "
                f"{', '.join(map(str, sorted(unsettled)))} may have members that are to go, and "
                "are not asked; wait for it (globaltable member list)"
            )
        await self._require(before, pb.NoteLevelRequest(level=level, only_asked=True), "")
        await self._require(
            before,
            pb.NoteLevelRequest(level=level),
            "; the others have noted the level, and start with no older release any more: once "
            "that is mended, finalize again",
        )

        def raised(topology: Topology) -> Topology:
            if topology.version != before.version:
                raise TopologyRefused(
                    f"somebody else changed version {before.version} of the topology just now, and "
                    "who has come was not asked; finalize again"
                )
            return with_level(topology, level)

        await self._changes.make(raised, timeout_s)
        log.info("level raised", feature_level=level, before=before.level)

    async def _require(
        self, topology: Topology, request: pb.NoteLevelRequest, consequence: str
    ) -> None:
        """Raises `TopologyRefused` unless every member says yes."""
        asking = (self._ask(node, request) for node in topology.nodes)
        hindrances = [a for a in await asyncio.gather(*asking) if a.hindrance]
        if hindrances:
            raise TopologyRefused(
                f"level {request.level} cannot be in force yet: "
                + "; ".join(f"{one.node}: {one.hindrance}" for one in hindrances)
                + " (upgrade it and start it, or remove it: globaltable upgrade shows all)"
                + consequence
            )

    async def _ask(self, node: Node, request: pb.NoteLevelRequest) -> _Answer:
        if node.name == self._node:
            self.note(request)
            return _Answer(node.name, "")
        stub = pb_grpc.AdminServiceStub(await self._channels.to(node.client))  # type: ignore[arg-type]
        try:
            await stub.NoteLevel(request, timeout=ASK_TIMEOUT_S)  # type: ignore[misc]
        except grpc.aio.AioRpcError as error:
            return _Answer(node.name, _hindrance(error))
        return _Answer(node.name, "")


def _hindrance(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"its release is of before there were levels, and understands {OF_BEFORE}"
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return str(error.details())
    return f"it cannot be asked ({error.code().name}: {error.details()})"
