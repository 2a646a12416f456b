"""What a node does about the topology: who its peers are, what it holds, and when it may stop.

Responsible for bringing this node to what the topology says, and for telling from the logs of its
groups, and the word of its peers, whether anybody counts on it still.

Invariants: no replica is discarded that its group may count on; a node that was removed is told of
it, and stops, only once none of its groups counts on it, by its own log or by the word of a
majority.
"""

from collections.abc import Callable, Mapping

import structlog

from globaltable.group import Replica
from globaltable.members import Members
from globaltable.server.config import Address, Config
from globaltable.server.core import NodeCore
from globaltable.server.live_topology import LiveTopology
from globaltable.server.peers import Peer
from globaltable.topology import Node as TopologyNode
from globaltable.topology import Topology

log = structlog.get_logger(__name__)


class Membership:
    """Of one node in its cluster."""

    def __init__(
        self,
        config: Config,
        name: str,
        core: NodeCore,
        live: LiveTopology,
        *,
        set_peers: Callable[[Mapping[str, Peer]], None],
        wake: Callable[[], None],
        on_removed: Callable[[], None],
    ) -> None:
        """`on_removed` is told once: this node was removed, and nobody counts on it any more."""
        self._config = config
        self._name = name
        self._region = config.node(name).region
        self._core = core
        self._live = live
        self._set_peers = set_peers
        self._wake = wake
        self._on_removed = on_removed
        self._is_removed = False
        self._refused_by: set[str] = set()
        """Peers that say this node was removed, and that they count on it for nothing."""
        set_peers(self.peers_of(live.newest))
        self.want_members()

    # --- peers -----------------------------------------------------------------------------------

    def connected(self, peer: str) -> None:
        """It does not refuse this node, or no longer."""
        self._refused_by.discard(peer)

    def peers_of(self, topology: Topology) -> dict[str, Peer]:
        """The other nodes; and those removed, while a group here counts on them, or may: one that
        is on its way is not always known here by its members."""
        counted = {
            name
            for replica in self._core.replicas.values()
            if replica.members is not None
            for name in replica.members.names
        }
        if self._live.unsettled:
            counted.update(name for group in topology.before for name in group.holders)
        leaving = [node for node in topology.removed if node.name in counted]
        return {
            node.name: self._peer(node)
            for node in (*topology.nodes, *leaving)
            if node.name != self._name
        }

    def _peer(self, node: TopologyNode) -> Peer:
        address = Address.parse(node.peer, f"peer address of node {node.name}")
        injected = self._config.injected_latency
        delay_s = injected.one_way_s(self._region, node.region) if injected else 0.0
        return Peer(address.host, address.port, delay_s, node.since)

    def why_removed(self, name: str, since: int) -> str:
        """Asked of who calls: whether it was removed, and nothing here counts on it any more."""
        newest = self._live.newest
        gone = next((node for node in newest.removed if node.name == name), None)
        present = newest.node_by_name.get(name)
        if present is not None:
            namesake = 0 <= since < present.since
            if not namesake:
                return ""
            return f"the node that is named {name} now was added in version {present.since}"
        if gone is None or name in self.peers_of(newest):
            return ""
        return f"node {name} is no part of version {newest.version} of the topology"

    def why_no_member(self, name: str) -> str:
        """Asked of who shows a node's certificate, which has no word of which node of that name."""
        newest = self._live.newest
        if name in newest.node_by_name or name in self.peers_of(newest):
            return ""
        return f"node {name} is no part of version {newest.version} of the topology"

    # --- replicas --------------------------------------------------------------------------------

    def want_members(self) -> None:
        """What each group's leader, if it is here, is to bring about. As long as the topology is
        the founders' there is nothing to: files differ while one is changed on node after node."""
        topology = self._live.newest
        for group in topology.groups:
            wanted = Members(group.replicas, group.learners) if topology.version else None
            self._core.set_wanted(group.number, wanted, topology.preferred(group))

    def reconcile(self) -> None:
        """Replicas that are to come, and those that may go; who the peers are."""
        core, topology = self._core, self._live.newest
        for group in topology.groups:
            number = group.number
            replica = core.replicas.get(number)
            if self._name in group.holders:
                if replica is None and number not in core.failures:
                    founders = self._live.founders_of(number)
                    log.info("replica joins" if founders is None else "group founded", group=number)
                    core.add_replica(group, founders)
                    self.want_members()
            elif replica is not None and (replica.is_removed or replica.is_joining):
                log.info("replica discarded", group=number)
                core.remove_replica(number)
        self._set_peers(self.peers_of(topology))
        self._wake()
        self._look_whether_removed()

    def _look_whether_removed(self) -> None:
        topology = self._live.newest
        if self._is_removed or self._name in topology.node_by_name:
            return
        waiting = [
            number
            for number, replica in self._core.replicas.items()
            if not self._is_given_up(replica)
        ]
        if not waiting and not self._core.is_discarding:
            log.warning(
                "this node was removed from the cluster: it stops, and its data directory may be "
                "deleted",
                node=self._name,
                version=topology.version,
            )
            self._is_removed = True
            self._on_removed()

    def _is_given_up(self, replica: Replica) -> bool:
        """Whether its group goes on without it, by its own log or by the word of a majority."""
        if replica.is_removed or replica.is_joining or replica.members is None:
            return True
        voters = replica.members.voters
        return 2 * len(self._refused_by.intersection(voters)) > len(voters)

    def refused(self, peer: str, reason: str) -> None:
        """For good: nothing there counts on this node."""
        self._refused_by.add(peer)
        replicas = self._core.replicas.values()
        if self._is_removed or not all(self._is_given_up(replica) for replica in replicas):
            return
        others = [node.name for node in self._live.newest.nodes if node.name != self._name]
        if replicas or 2 * len(self._refused_by.intersection(others)) > len(others):
            log.warning(
                "this node was removed from the cluster while it was away: it stops, and its data "
                "directory may be deleted",
                node=self._name,
                reason=reason,
            )
            self._is_removed = True
            self._on_removed()
