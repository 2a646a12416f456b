"""What the console's pages are answered from: this node, as far as who asks may see it.

Invariant: every answer has been let through by the gate, by way of the RPC that would give it; what
is known of the cluster beside that (who the nodes are, how they are) is for whoever may ask for
Status or Topology, which are of the cluster and of nobody's sessions.
"""

from collections.abc import Sequence
from typing import Any, Final

from globaltable.errors import Rejected
from globaltable.model import qualified_name
from globaltable.server.config import Config
from globaltable.server.console.calls import ADMIN, SERVICE, Calls, Shown
from globaltable.server.console.looked_up import Place, look_up
from globaltable.server.console.survey import Survey
from globaltable.server.console.view import Standing, sample_shown, view
from globaltable.server.core import NodeCore
from globaltable.server.gate import Gate
from globaltable.server.live_topology import LiveTopology
from globaltable.server.security import Right
from globaltable.topology import slot_of
from globaltable.v1 import admin_pb2
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.wire.topologies import decode_topology

ACT_TIMEOUT_S: Final = 5.0

Json = dict[str, Any]


class Stale(Rejected):
    """The cluster has changed since the page that asks was drawn."""


class Desk:
    """Of one node."""

    def __init__(
        self,
        *,
        config: Config,
        core: NodeCore,
        live: LiveTopology,
        survey: Survey,
        calls: Calls,
        gate: Gate | None,
        asks_who: bool,
    ) -> None:
        """`asks_who`: whether certificates are asked for. Without, everybody may everything."""
        self._config = config
        self._core = core
        self._live = live
        self._survey = survey
        self._gate = gate
        self._asks_who = asks_who
        self.calls = calls

    # --- to look ---------------------------------------------------------------------------------

    async def view(self, shown: Shown, after: int) -> Json:
        """The first look after number `after`. Raises `CallRefused`."""
        await self._require_look(shown)
        look = await self._survey.next(after)
        live, course = self._live, self._survey.course
        scheme = "https" if self._asks_who else "http"
        consoles = {
            node.name: f"{scheme}://{node.console}/"
            for node in self._config.nodes
            if node.console is not None
        }
        standing = Standing(live.newest, frozenset(live.unsettled), consoles)
        samples = {name: course.latest(name, look.at_s) for name in look.statuses}
        return view(look, standing, samples) | {
            "node": self._core.node,
            "target_ms": self._config.console.target_ms,
            "you": self._you(shown),
        }

    async def _require_look(self, shown: Shown) -> None:
        """Topology takes the same right as Status, and says next to nothing to who knows it."""
        known = pb.TopologyRequest(
            known_version=self._live.newest.version + 1, known_moves=self._live.claims.moves
        )
        await self.calls.ask(SERVICE + "Topology", known, shown)

    def _you(self, shown: Shown) -> Json:
        tables = list(self._config.tables)
        if self._gate is None or not self._asks_who:
            return {"name": None, "may_admin": True, "tables": tables}
        caller = self._gate.caller(shown.pem)
        return {
            "name": caller.identity.name,
            "may_admin": caller.grant.is_admin,
            "tables": [table for table in tables if caller.grant.may(Right.READ, table)],
        }

    def course(self) -> Json:
        """By node, the last minutes of its commit latency."""
        return {
            node.name: [sample_shown(sample) for sample in self._survey.course.of(node.name)]
            for node in self._live.newest.nodes
        }

    # --- to look up and to watch -----------------------------------------------------------------

    async def binding(self, shown: Shown, table: str, key: str, *, linearizable: bool) -> Json:
        """Raises `CallRefused`."""
        return await look_up(
            self.calls, shown, table, key, self._place_of, linearizable=linearizable
        )

    def _place_of(self, table: str, key: str) -> Place:
        core, name = self._core, qualified_name(table, key)
        group, slot = core.routes.group_of(name), slot_of(name, core.topology.slots)
        if core.refusal(group):
            return Place(slot, group, 0, 0, 0)
        held = core.replicas[group].table
        return Place(slot, group, held.applied, held.history.floor, held.history.ops)

    def holders_of(self, table: str, key: str) -> list[str]:
        """The nodes whose consoles could tell of a key."""
        group = self._core.routes.group_of(qualified_name(table, key))
        return list(self._core.topology.groups[group].holders)

    def groups_of(self, table: str) -> tuple[list[int], list[int]]:
        """The groups of a table that this node holds, and those that it does not."""
        topology = self._core.topology
        groups = [group.number for group in topology.groups_in(topology.geo_of(table).name)]
        held = [number for number in groups if number in self._core.replicas]
        return held, [number for number in groups if number not in held]

    # --- to act ----------------------------------------------------------------------------------

    async def drain(self, shown: Shown, where: str, *, undo: bool) -> Json:
        """Raises `CallRefused`."""
        drain = admin_pb2.Drain(where=where, undo=undo)
        return await self._change(shown, admin_pb2.ChangeTopologyRequest(drain=drain))

    async def lead(self, shown: Shown, group: int, to: str, version: int) -> Json:
        """Have a group be led by another of its nodes, and all others by whom they are to be led
        in that version of the topology. Raises `CallRefused`, `Stale`."""
        topology = self._live.newest
        if topology.version != version:
            raise Stale(
                f"the topology is at version {topology.version} by now, not {version}: look at "
                "what has changed, and ask again"
            )
        leaders: Sequence[str] = [
            to if one.number == group else one.preferred for one in topology.groups
        ]
        request = admin_pb2.ChangeTopologyRequest(leaders=admin_pb2.Leaders(nodes=leaders))
        return await self._change(shown, request)

    async def _change(self, shown: Shown, request: admin_pb2.ChangeTopologyRequest) -> Json:
        answer = await self.calls.ask(ADMIN + "ChangeTopology", request, shown, ACT_TIMEOUT_S)
        return {"topology_version": decode_topology(answer.json).version}
