"""What a simulated node, caller or watcher finds around it, in whichever world it stands.

There are two: `world`, of few nodes and all kinds of faults, and `regions`, of many nodes and
groups, of which a whole region is lost.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.topology import Topology
from tests.simulation.checks import Checks
from tests.simulation.network import Network
from tests.simulation.timeline import Timeline

if TYPE_CHECKING:
    from tests.simulation.library import LibraryClient
    from tests.simulation.node import Life, SimNode


class Drawn(Protocol):
    """What a seed has decided."""

    @property
    def seed(self) -> int: ...

    @property
    def sync_s(self) -> float: ...

    @property
    def changes(self) -> Sequence[Any]:
        """Of members."""
        ...

    @property
    def wipes(self) -> bool:
        """Whether who is to rebuild has the node join anew."""
        ...


class Scene(Protocol):
    timeline: Timeline
    network: Network
    checks: Checks
    topology: Topology
    rebuilds: int
    """Of replicas, so far."""

    @property
    def schedule(self) -> Drawn: ...

    @property
    def timing(self) -> Timing: ...

    @property
    def limits(self) -> ReplicaLimits: ...

    @property
    def nodes(self) -> Mapping[str, "SimNode"]: ...

    @property
    def libraries(self) -> Sequence["LibraryClient"]:
        """Who is told of a node's death."""
        ...

    def note(self, who: str, what: str, *details: Any) -> None: ...

    def topology_answer(self, life: "Life", request: bytes) -> bytes:
        """What a node answers to a client that asks for the topology."""
        ...
