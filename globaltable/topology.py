"""Who holds what: regions, nodes, groups and slots, as plain values.

Responsible for the arithmetic of placement, and for nothing that changes while a node runs.

Invariants, checked where a topology is made: names are unique; a group's replicas are in distinct
regions, all of which its geo allows; every slot of a table is dealt to one group, of the table's
geo, and assigned to one. The first group is of the default geo: what a cluster keeps about itself
is there, in slot 0. A slot stands where it was dealt to until it is moved; where it is to be moved
is its assignment, and where it has come to is for its groups to say (`holdings`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final
from zlib import crc32

from globaltable.deal import NOTHING, Deal
from globaltable.errors import ConfigError
from globaltable.geo import EVERYWHERE, Geo, geo_of, require_apart
from globaltable.levels import UNDERSTOOD, Feature, require
from globaltable.model import SEPARATOR

SLOTS_DEFAULT: Final = 4096
SLOTS_MAX: Final = 65_536
REPLICAS_ALLOWED: Final = (3, 5)
TABLES_REMEMBERED: Final = 1_024


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
    geo: str = ""
    """The geo whose tables it holds; empty for the default one."""
    since: int = 0
    """The version of the topology that added it; 0 of one that the cluster was founded with."""
    founders: tuple[str, ...] = ()
    """Its first members, whoever they are by now, of one that was added (`known_topology`)."""

    @property
    def preferred(self) -> str:
        return self.replicas[0]

    @property
    def holders(self) -> tuple[str, ...]:
        return (*self.replicas, *self.learners)


Assigned = tuple[tuple[str, tuple[int, ...]], ...]
"""By geo, the group for each slot."""


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
    geos: tuple[Geo, ...] = ()
    """But for the default one."""
    assigned: Assigned = ()
    """The groups that are to hold the slots; of a geo that is not named, those dealt to."""
    assigned_before: Assigned = ()
    """As it was before it was changed last: what it takes to undo that."""
    level: int = UNDERSTOOD.newest
    """In force (`levels`). A new cluster is founded at the newest that there is."""

    def __post_init__(self) -> None:
        names = [node.name for node in (*self.nodes, *self.removed)]
        if len(set(names)) != len(names):
            raise ConfigError(f"node names are not unique: {names}")
        if not 1 <= len(self.groups) <= self.slots:
            raise ConfigError(
                f"{len(self.groups)} groups cannot share {self.slots} slots; "
                f"set between 1 and {self.slots} groups"
            )
        self._check_geos()
        self._check_assigned()
        for group in self.groups:
            unknown = [name for name in group.holders if name not in self.node_by_name]
            if unknown:
                raise ConfigError(f"group {group.number} has replicas on no node: {unknown}")
            regions = [self.region_of[name] for name in group.holders]
            if len(set(regions)) != len(regions):
                raise ConfigError(f"group {group.number} has two replicas in a region: {regions}")
            if any(self.node_by_name[name].learner for name in group.replicas):
                raise ConfigError(f"group {group.number} has a voter in a region that only reads")
            geo = self.geo_of_group(group)
            if outside := [region for region in regions if not geo.allows(region)]:
                raise ConfigError(
                    f"group {group.number} of geo {geo.name} would be in {', '.join(outside)}, "
                    f"and may be in {', '.join(geo.regions)} only"
                )

    def _check_geos(self) -> None:
        require_apart(self.geos)
        with_groups = {group.geo for group in self.groups}
        if unknown := with_groups - {"", *self._geo_by_name}:
            raise ConfigError(f"there are groups of geos that there are not: {sorted(unknown)}")
        if without := self._geo_by_name.keys() - with_groups:
            raise ConfigError(f"there are geos without groups: {sorted(without)}")
        if self.groups[0].geo:
            raise ConfigError(f"group 0 is of geo {self.groups[0].geo}, and must be of the default")

    def _check_assigned(self) -> None:
        founding = [group.since == 0 for group in self.groups]
        if not founding[0] or founding != sorted(founding, reverse=True):
            raise ConfigError("groups that the cluster was founded with have the first numbers")
        for geo, groups in (*self.assigned, *self.assigned_before):
            if len(groups) != self.slots:
                raise ConfigError(f"{len(groups)} of {self.slots} slots are assigned to groups")
            known = {group.number for group in self.groups_in(geo)}
            if strange := set(groups) - known:
                raise ConfigError(
                    f"a slot of geo {geo!r} is assigned to group {min(strange)}, which is not of it"
                )
            if not geo and groups[0] != 0:
                raise ConfigError("slot 0, in which the topology is kept, stays in group 0")

    @cached_property
    def region_of(self) -> dict[str, str]:
        """Each node's region, by name; of removed ones too, which may be about for a while."""
        return {node.name: node.region for node in (*self.removed, *self.nodes)}

    @cached_property
    def node_by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _geo_by_name(self) -> dict[str, Geo]:
        return {geo.name: geo for geo in self.geos}

    def geo_of_group(self, group: Group) -> Geo:
        return self._geo_by_name[group.geo] if group.geo else EVERYWHERE

    def geo_of(self, table: str) -> Geo:
        return geo_of(self.geos, table)

    def groups_in(self, geo: str) -> tuple[Group, ...]:
        """The groups of a geo, by number."""
        return tuple(group for group in self.groups if group.geo == geo)

    @cached_property
    def founding_groups(self) -> int:
        """How many groups the cluster was founded with: among these slots were dealt."""
        return sum(group.since == 0 for group in self.groups)

    def require_slots_may_move(self) -> None:
        """Raises `UpgradeNotFinal`. Where slots were assigned before there were levels, no member
        is too old for it."""
        if not self.is_extended:
            require(self.level, Feature.SLOTS)

    @property
    def is_extended(self) -> bool:
        """Groups have been added to the founding ones, or slots assigned otherwise than dealt."""
        extended = self.assigned or self.assigned_before
        return bool(extended) or self.founding_groups < len(self.groups)

    @cached_property
    def _owners(self) -> "_Owners":
        return _Owners(self)

    def owners_of(self, table: str) -> Sequence[int]:
        """The groups that slots of a table were dealt to: slot s to the (s mod length)-th."""
        return self._owners[table.encode()] if self.geos else range(self.founding_groups)

    def group_of_slot(self, slot: int, table: str = "") -> int:
        """The group that a slot of a table was dealt to; of those of no geo by default."""
        owners = self.owners_of(table)
        return owners[group_of_slot(slot, len(owners))]

    def group_of(self, name: bytes) -> int:
        """The number of the group that a qualified name was dealt to."""
        if not self.geos:
            return group_of_slot(slot_of(name, self.slots), self.founding_groups)
        owners = self._owners[name.partition(SEPARATOR)[0]]
        return owners[group_of_slot(slot_of(name, self.slots), len(owners))]

    def groups_of(self, names: Iterable[bytes]) -> list[int]:
        """`group_of` for many names."""
        if not self.geos:
            groups = self.founding_groups
            return [group_of_slot(slot, groups) for slot in slots_of(names, self.slots)]
        # As above: without a call for each.
        owners_of, slots = self._owners, self.slots
        return [
            (owners := owners_of[name.partition(SEPARATOR)[0]])[crc32(name) % slots % len(owners)]
            for name in names
        ]

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
        """The slots of the tables of its geo that a group was dealt, ascending."""
        return self.deal_of(number).slots(self.slots)

    def deal_of(self, number: int) -> Deal:
        """What a group holds before any slot has been moved."""
        if not number < self.founding_groups:
            return NOTHING
        geo = self.groups[number].geo
        sharing = [group.number for group in self.groups_in(geo) if not group.since]
        return Deal(sharing.index(number), len(sharing))

    @cached_property
    def _assignments(self) -> dict[str, tuple[int, ...]]:
        return dict(self.assigned)

    def assignment(self, geo: str = "") -> tuple[int, ...]:
        """By slot of the tables of a geo, the group that is to hold it."""
        known = self._assignments.get(geo)
        if known is None:
            known = self._assignments[geo] = self.dealt_to(geo)
        return known

    def dealt_to(self, geo: str = "") -> tuple[int, ...]:
        """By slot of the tables of a geo, the group that it was dealt to."""
        sharing = [group.number for group in self.groups_in(geo) if not group.since]
        return tuple(sharing[slot % len(sharing)] for slot in range(self.slots))

    def assigned_to(self, number: int) -> list[int]:
        """The slots that a group is to hold, ascending."""
        assignment = self.assignment(self.groups[number].geo)
        return [slot for slot, group in enumerate(assignment) if group == number]


class _Owners(dict[bytes, tuple[int, ...]]):
    """`Topology.owners_of`, by the table's name as it begins those of its keys. Remembered of as
    many tables as a cluster may be thought to have, and no more whatever is asked for."""

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self._topology = topology

    def __missing__(self, table: bytes) -> tuple[int, ...]:
        geo = self._topology.geo_of(table.decode())
        sharing = self._topology.groups_in(geo.name)
        owners = tuple(group.number for group in sharing if not group.since)
        if len(self) < TABLES_REMEMBERED:
            self[table] = owners
        return owners


def one_node_each(regions: Iterable[str]) -> tuple[Node, ...]:
    """A node in each region, named after it."""
    return tuple(Node(region, region) for region in regions)


def spread(
    cluster: str,
    nodes: Sequence[Node],
    groups: int,
    replicas: int,
    slots: int = SLOTS_DEFAULT,
    geos: Sequence[tuple[Geo, int]] = (),
) -> Topology:
    """Every group in `replicas` of the regions, on one node in each: regions are taken in turn, and
    so are the nodes of a region; the leader stands in the first. Behind the `groups` of the default
    geo come those of `geos`, each with its number of groups, in its own regions."""
    if replicas not in REPLICAS_ALLOWED:
        raise ConfigError(
            f"replicas = {replicas}: a group has {' or '.join(map(str, REPLICAS_ALLOWED))} "
            "replicas, so that a majority survives the loss of a minority"
        )
    spreads: list[Group] = []
    for geo, count in ((EVERYWHERE, groups), *geos):
        own = [node for node in nodes if geo.allows(node.region)]
        spreads += _spread(geo, own, len(spreads), count, replicas)
    return Topology(
        cluster=cluster,
        nodes=tuple(nodes),
        groups=tuple(spreads),
        slots=slots,
        geos=tuple(geo for geo, _ in geos),
    )


def _spread(geo: Geo, nodes: Sequence[Node], first: int, groups: int, replicas: int) -> list[Group]:
    """The groups of one geo, numbered from `first`, over the nodes that there are in it."""
    nodes_in: dict[str, list[str]] = {}
    for node in nodes:
        nodes_in.setdefault(node.region, []).append(node.name)
    regions = list(nodes_in)
    if len(regions) < replicas:
        raise ConfigError(
            f"replicas = {replicas} but there are only {len(regions)} regions"
            + (f" with nodes in geo {geo.name}" if geo.name else "")
            + "; each replica of a group needs a region of its own"
        )

    def replica(number: int, offset: int) -> str:
        # Once every region has led a group, it is the next node's turn in each.
        among = nodes_in[regions[(number + offset) % len(regions)]]
        return among[number // len(regions) % len(among)]

    return [
        Group(
            first + number,
            tuple(replica(number, offset) for offset in range(replicas)),
            (),
            geo.name,
        )
        for number in range(groups)
    ]
