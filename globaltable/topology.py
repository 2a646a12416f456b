"""Who holds what: regions, nodes, groups and slots, as plain values.

Responsible for the arithmetic of placement, and for nothing that changes while a node runs.

Invariants, checked where a topology is made: names are unique; a group's replicas are in distinct
regions; every slot is dealt to one group and assigned to one, and slot 0, in which the topology
itself is kept, to group 0. A slot stands where it was dealt to until it is moved; where it is to be
moved is its assignment, and where it has come to is for its groups to say (`holdings`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final
from zlib import crc32

from globaltable.deal import NOTHING, Deal
from globaltable.errors import ConfigError

SLOTS_DEFAULT: Final = 4096
SLOTS_MAX: Final = 65_536
REPLICAS_ALLOWED: Final = (3, 5)


def slot_of(name: bytes, slots: int) -> int:
    """The slot of a qualified name: `crc32(table, key) mod slots`."""
    return crc32(name) % slots


def slots_of(names: Iterable[bytes], slots: int) -> list[int]:
    """`slot_of` for many names: without a call for each, of which there are four for every op."""
    return [crc32(name) % slots for name in names]


def group_of_slot(slot: int, groups: int) -> int:
    """The group that a slot is dealt to. They are dealt in turn: neighbours hold equally many."""
    return slot % groups


@dataclass(frozen=True, slots=True)
class Node:
    """One server process, and where the others ("host:port") and clients reach it."""

    name: str
    region: str
    peer: str = ""
    client: str = ""
    learner: bool = False
    """Its replicas have no vote, and are read. So it is with all nodes of a region, or none."""
    drained: bool = False
    """It leads nothing, if another can."""
    since: int = 0
    """The version of the topology that added it: tells it from a removed one of its name."""


@dataclass(frozen=True, slots=True)
class Group:
    """One Raft group: the replicas that have a vote, by node name, the preferred leader first; and
    those that have none."""

    number: int
    replicas: tuple[str, ...]
    learners: tuple[str, ...] = ()
    since: int = 0
    """The version of the topology that added it; 0 of one that the cluster was founded with."""
    founders: tuple[str, ...] = ()
    """Its first members, whoever they are by now, of one that was added (`founding`)."""

    @property
    def preferred(self) -> str:
        return self.replicas[0]

    @property
    def holders(self) -> tuple[str, ...]:
        return (*self.replicas, *self.learners)


@dataclass(frozen=True)
class Topology:
    """A whole cluster. The founding one has version 0."""

    cluster: str
    nodes: tuple[Node, ...]
    groups: tuple[Group, ...]
    slots: int = SLOTS_DEFAULT
    version: int = 0
    removed: tuple[Node, ...] = ()
    """Nodes of before. Peers reach one until no group counts on it any more; its name stays taken
    until a node without data joins under it."""
    before: tuple[Group, ...] = ()
    """The groups that the last change touched, as they were: what it takes to undo it."""
    assigned: tuple[int, ...] = ()
    """The group that is to hold each slot; empty: the one that it was dealt to."""
    assigned_before: tuple[int, ...] = ()
    """As it was before it was changed last: what it takes to undo that."""

    def __post_init__(self) -> None:
        names = [node.name for node in (*self.nodes, *self.removed)]
        if len(set(names)) != len(names):
            raise ConfigError(f"node names are not unique: {names}")
        if not 1 <= len(self.groups) <= self.slots:
            raise ConfigError(
                f"{len(self.groups)} groups cannot share {self.slots} slots; "
                f"set between 1 and {self.slots} groups"
            )
        self._require_assignment()
        for group in self.groups:
            unknown = [name for name in group.holders if name not in self.node_by_name]
            if unknown:
                raise ConfigError(f"group {group.number} has replicas on no node: {unknown}")
            regions = [self.region_of[name] for name in group.holders]
            if len(set(regions)) != len(regions):
                raise ConfigError(f"group {group.number} has two replicas in a region: {regions}")
            if any(self.node_by_name[name].learner for name in group.replicas):
                raise ConfigError(f"group {group.number} has a voter in a region that only reads")

    def _require_assignment(self) -> None:
        founding = [group.since == 0 for group in self.groups]
        if not founding[0] or founding != sorted(founding, reverse=True):
            raise ConfigError("groups that the cluster was founded with have the first numbers")
        for assigned in filter(None, (self.assigned, self.assigned_before)):
            if len(assigned) != self.slots:
                raise ConfigError(f"{len(assigned)} of {self.slots} slots are assigned to groups")
            if not 0 <= min(assigned) <= max(assigned) < len(self.groups):
                raise ConfigError(
                    f"a slot is assigned to group {max(assigned)} of {len(self.groups)}"
                )
            if assigned[0] != 0:
                raise ConfigError("slot 0, in which the topology is kept, stays in group 0")

    @cached_property
    def founding_groups(self) -> int:
        """How many groups the cluster was founded with: among these the slots were dealt."""
        return sum(group.since == 0 for group in self.groups)

    @cached_property
    def region_of(self) -> dict[str, str]:
        """Each node's region, by name; of removed ones too, which may be about for a while."""
        return {node.name: node.region for node in (*self.removed, *self.nodes)}

    @cached_property
    def node_by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def group_of_slot(self, slot: int) -> int:
        """The group that a slot was dealt to."""
        return group_of_slot(slot, self.founding_groups)

    def group_of(self, name: bytes) -> int:
        """The number of the group that a qualified name was dealt to."""
        return self.group_of_slot(slot_of(name, self.slots))

    def owners_of(self, table: str) -> Sequence[int]:
        """The groups that slots of a table were dealt to: slot s to the (s mod length)-th."""
        return range(self.founding_groups)

    def groups_of(self, names: Iterable[bytes]) -> list[int]:
        """`group_of` for many names."""
        groups = self.founding_groups
        return [group_of_slot(slot, groups) for slot in slots_of(names, self.slots)]

    @cached_property
    def assignment(self) -> Sequence[int]:
        """By slot, the group that is to hold it."""
        return self.assigned or list(map(self.group_of_slot, range(self.slots)))

    @cached_property
    def plan_digest(self) -> int:
        """Equal for nodes that would have the same node lead each group (and hardly otherwise)."""
        return crc32("\0".join(map(self.preferred, self.groups)).encode())

    def preferred(self, group: Group) -> str:
        """Who should lead a group: the first that is not drained. So it is the first again once it
        no longer is."""
        ready = (name for name in group.replicas if not self.node_by_name[name].drained)
        return next(ready, group.preferred)

    @property
    def replicas(self) -> int:
        """How many voters each group has."""
        return len(self.groups[0].replicas)

    def led_by(self, leaders: Sequence[str]) -> "Topology":
        """The same groups on the same nodes, each preferring to be led by one of its replicas."""
        if len(leaders) != len(self.groups):
            raise ConfigError(f"{len(leaders)} leaders for {len(self.groups)} groups")
        groups = []
        for group, leader in zip(self.groups, leaders, strict=True):
            if leader not in group.replicas:
                raise ConfigError(f"group {group.number} has no replica on {leader!r} to lead it")
            others = tuple(name for name in group.replicas if name != leader)
            groups.append(replace(group, replicas=(leader, *others)))
        return replace(self, groups=tuple(groups))

    def slots_of_group(self, number: int) -> range:
        """The slots that a group was dealt, ascending."""
        return self.deal_of(number).slots(self.slots)

    def assigned_to(self, number: int) -> list[int]:
        """The slots that a group is to hold, ascending."""
        return [slot for slot, group in enumerate(self.assignment) if group == number]

    def deal_of(self, number: int) -> Deal:
        """What a group holds before any slot has been moved."""
        founding = self.founding_groups
        return Deal(number, founding) if number < founding else NOTHING


def one_node_each(regions: Iterable[str]) -> tuple[Node, ...]:
    """A node in each region, named after it."""
    return tuple(Node(region, region) for region in regions)


def spread(
    cluster: str, nodes: Sequence[Node], groups: int, replicas: int, slots: int = SLOTS_DEFAULT
) -> Topology:
    """Every group in `replicas` of the regions, on one node in each: regions are taken in turn, and
    so are the nodes of a region; the leader stands in the first."""
    if replicas not in REPLICAS_ALLOWED:
        raise ConfigError(
            f"replicas = {replicas}: a group has {' or '.join(map(str, REPLICAS_ALLOWED))} "
            "replicas, so that a majority survives the loss of a minority"
        )
    nodes_in: dict[str, list[str]] = {}
    for node in nodes:
        nodes_in.setdefault(node.region, []).append(node.name)
    regions = list(nodes_in)
    if len(regions) < replicas:
        raise ConfigError(
            f"replicas = {replicas} but there are only {len(regions)} regions; each replica of a "
            "group needs a region of its own"
        )

    def replica(number: int, offset: int) -> str:
        # Once every region has led a group, it is the next node's turn in each.
        among = nodes_in[regions[(number + offset) % len(regions)]]
        return among[number // len(regions) % len(among)]

    return Topology(
        cluster=cluster,
        nodes=tuple(nodes),
        groups=tuple(
            Group(number, tuple(replica(number, offset) for offset in range(replicas)))
            for number in range(groups)
        ),
        slots=slots,
    )
