"""New topologies from old ones: every change that an operator may ask for, as a pure function.

Each returns the whole topology as it should be, at the next version, or raises `TopologyRefused`,
which says what is wrong and what to do. Nothing here knows how groups get there: their leaders
bring them (`convergence`), and where they stand is `require_settled`'s only question.

Invariants: of the result those of `Topology`; version and `before` are set here and nowhere else;
replicas move as little as can be (`rebalance`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from operator import ne

from globaltable.errors import ConfigError, ProtocolError, Rejected
from globaltable.geo import Geo
from globaltable.rebalance import rebalanced
from globaltable.topology import REPLICAS_ALLOWED, Group, Node, Topology

Change = Callable[[Topology], Topology]


class TopologyRefused(Rejected):
    """The change cannot be made to the topology as it is; nothing has changed."""


def _changed(
    topology: Topology, nodes: Sequence[Node], replicas: int, **fields: object
) -> Topology:
    """With other nodes, or another number of replicas, and the groups rebalanced over them."""
    try:
        groups = rebalanced(topology, nodes, replicas)
        return next_version(topology, nodes=tuple(nodes), groups=groups, **fields)
    except ConfigError as error:
        raise TopologyRefused(str(error)) from error


def next_version(topology: Topology, **fields: object) -> Topology:
    """With other fields. What it takes to undo it is kept."""
    changed = replace(topology, version=topology.version + 1, before=(), **fields)  # type: ignore[arg-type]
    # Of groups that were added there is no before.
    pairs = zip(topology.groups, changed.groups, strict=False)
    touched = tuple(old for old, new in pairs if not same_members(old, new))
    # A change that touches no members, as to drain, leaves the last one to be undone.
    return replace(changed, before=touched or topology.before)


def same_members(one: Group, other: Group) -> bool:
    """Whoever leads."""
    return {*one.replicas} == {*other.replicas} and {*one.learners} == {*other.learners}


def add(topology: Topology, node: Node) -> Topology:
    """A node more, in a region there is or a new one; groups are rebalanced over it."""
    _require_free(topology, node)
    removed = tuple(old for old in topology.removed if old.name != node.name)
    joined = replace(node, since=topology.version + 1, drained=False)
    return _changed(topology, (*topology.nodes, joined), topology.replicas, removed=removed)


def remove(topology: Topology, name: str) -> Topology:
    """A node less. Its replicas go where least is held, in its region if there is another node."""
    gone = _node(topology, name)
    nodes = [node for node in topology.nodes if node.name != name]
    return _changed(topology, nodes, topology.replicas, removed=(*topology.removed, gone))


def replace_node(topology: Topology, name: str, node: Node) -> Topology:
    """Another node in the place of one, with all its replicas; it may be in another region."""
    gone = _node(topology, name)
    _require_free(topology, replace(node, learner=gone.learner), leaving=name)
    joined = replace(node, since=topology.version + 1, learner=gone.learner, drained=False)
    # Were it to come where a replica of the group is, the group would be twice in its region.
    neighbours = [n.name for n in topology.nodes if n.region == node.region and n.name != name]
    if node.region != gone.region and neighbours:
        raise TopologyRefused(
            f"{node.name} cannot take the place of {name}: its region {node.region} has "
            f"{', '.join(neighbours)}, which hold replicas of the same groups; add and remove "
            "instead, or replace it in its own region or in a new one"
        )

    def swapped(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(node.name if other == name else other for other in names)

    kept_out = [
        group.geo
        for group in topology.groups
        if name in group.holders and not topology.geo_of_group(group).allows(node.region)
    ]
    if kept_out:
        raise TopologyRefused(
            f"{node.name} cannot take the place of {name}, which holds groups of geo "
            f"{kept_out[0]}: region {node.region} is none of its; replace it in one of its "
            f"regions, or add {node.name}, and then remove {name}"
        )
    nodes = tuple(joined if other.name == name else other for other in topology.nodes)
    groups = tuple(
        replace(g, replicas=swapped(g.replicas), learners=swapped(g.learners))
        for g in topology.groups
    )
    removed = (*(old for old in topology.removed if old.name != node.name), gone)
    return next_version(topology, nodes=nodes, groups=groups, removed=removed)


def with_replicas(topology: Topology, replicas: int) -> Topology:
    """Groups grown or shrunk: 3 to 5, and back."""
    if replicas not in REPLICAS_ALLOWED:
        raise TopologyRefused(
            f"{replicas} replicas: give {' or '.join(map(str, REPLICAS_ALLOWED))}; an even number "
            "survives no more losses than the odd one below it"
        )
    if replicas == topology.replicas:
        raise TopologyRefused(f"every group has {replicas} replicas already")
    return _changed(topology, topology.nodes, replicas)


def with_geo_regions(topology: Topology, name: str, regions: Sequence[str]) -> Topology:
    """A geo in other regions; its groups are rebalanced over them. Until they are there (they are
    settled), who is to go may still hold their rows."""
    geo = next((geo for geo in topology.geos if geo.name == name), None)
    if geo is None:
        known = ", ".join(geo.name for geo in topology.geos) or "none"
        raise TopologyRefused(f"there is no geo {name!r}; there are {known}")
    there = {node.region for node in topology.nodes}
    for region in regions:
        if region not in there and region not in geo.regions:
            raise TopologyRefused(
                f"there is no node in region {region!r}; add one first (globaltable member add)"
            )
    if {*regions} == {*geo.regions}:
        raise TopologyRefused(f"geo {name} is in {', '.join(geo.regions)} already")
    try:
        changed = replace(geo, regions=tuple(regions))
        geos = tuple(changed if other is geo else other for other in topology.geos)
        groups = rebalanced(topology, topology.nodes, topology.replicas, geos)
        return next_version(topology, groups=groups, geos=geos)
    except ConfigError as error:
        raise TopologyRefused(str(error)) from error


def drain(topology: Topology, where: str, *, undo: bool = False) -> Topology:
    """A node, or all of a region, is to lead nothing, or again what it did before."""
    nodes = tuple(
        replace(node, drained=not undo) if where in (node.name, node.region) else node
        for node in topology.nodes
    )
    if not any(where in (node.name, node.region) for node in topology.nodes):
        regions = ", ".join(dict.fromkeys(node.region for node in topology.nodes))
        raise TopologyRefused(f"there is no region and no node {where!r}; regions: {regions}")
    if nodes == topology.nodes:
        raise TopologyRefused(f"{where} is {'not drained' if undo else 'drained already'}")
    drained = {node.name for node in nodes if node.drained}
    for group in topology.groups:
        if drained.issuperset(group.replicas):
            raise TopologyRefused(
                f"with {where} drained nobody would be left to lead group {group.number}: all of "
                f"{', '.join(group.replicas)} would be; undo another drain first"
            )
    return next_version(topology, nodes=nodes)


def lead(topology: Topology, leaders: Sequence[str]) -> Topology:
    """Each group, by its number, is to be led by one of its replicas."""
    try:
        led = topology.led_by(leaders)
    except ConfigError as error:
        raise TopologyRefused(str(error)) from error
    if led.groups == topology.groups:
        raise TopologyRefused("the groups are led so already")
    return next_version(topology, groups=led.groups)


def with_level(topology: Topology, level: int) -> Topology:
    """A higher level in force. Whether all members understand it is for the caller to know."""
    if level <= topology.level:
        raise TopologyRefused(
            f"level {topology.level} is in force already"
            + (f"; a level is never lowered, to {level} or any other" * (level < topology.level))
        )
    return next_version(topology, level=level)


def require_settled(present: Topology, after: Topology, unsettled: Collection[int]) -> None:
    """Refuse a change that touches a group which is still on its way, but to send it back."""
    if unsettled and len(after.groups) > len(present.groups):
        raise TopologyRefused(
            f"the last change (version {present.version}) is under way: groups "
            f"{', '.join(map(str, sorted(unsettled)))} are not yet where they are to be; wait for "
            "it (globaltable member list), then add groups"
        )
    before = {group.number: group for group in present.before}
    for old, new in zip(present.groups, after.groups, strict=False):
        if old.number not in unsettled or same_members(old, new):
            continue
        if old.number not in before or not same_members(before[old.number], new):
            raise TopologyRefused(
                f"the last change (version {present.version}) is under way: group {old.number} is "
                f"on its way to {', '.join(old.holders)}; wait for it (globaltable member list), "
                "or undo it"
            )


def require_successor(before: Topology, after: Topology) -> None:
    """Whether a later topology can be one of this cluster: what was founded is so for good, groups
    are only added, and the level only rises. Raises `ProtocolError`."""
    if after.level < before.level:
        raise ProtocolError(
            f"topology {after.version} is of level {after.level}, and the one before it, "
            f"{before.version}, of level {before.level}, which is never lowered"
        )
    if (
        after.cluster != before.cluster
        or after.slots != before.slots
        or after.founding_groups != before.founding_groups
        or len(after.groups) < len(before.groups)
    ):
        raise ProtocolError(
            f"topology {after.version} is of cluster {after.cluster!r}, {after.slots} slots and "
            f"{len(after.groups)} groups, of which {after.founding_groups} founded it; here are "
            f"{before.cluster!r}, {before.slots}, {len(before.groups)} and {before.founding_groups}"
        )


def differences(before: Topology, after: Topology) -> list[str]:
    """What is not the same, a line each: for the log, when a file disagrees with what is stored."""
    lines = []
    for name in dict.fromkeys([*before.node_by_name, *after.node_by_name]):
        old, new = before.node_by_name.get(name), after.node_by_name.get(name)
        if old is None or new is None:
            lines.append(f"node {name}: {'added' if old is None else 'removed'}")
            continue
        for what in ("region", "peer", "client", "learner", "drained"):
            was, now = getattr(old, what), getattr(new, what)
            if was != now:
                lines.append(f"node {name}: {what} {was} -> {now}")
    lines += _differences_of_geos(before, after)
    if before.level != after.level:
        lines.append(f"level in force: {before.level} -> {after.level}")
    if before.founding_groups != after.founding_groups or before.slots != after.slots:
        lines.append(
            f"groups and slots of the founding: {before.founding_groups}, {before.slots} -> "
            f"{after.founding_groups}, {after.slots}"
        )
        return lines
    if len(before.groups) != len(after.groups):
        lines.append(f"groups: {len(before.groups)} -> {len(after.groups)}")
    for geo in {"", *(geo.name for geo in before.geos)} & {"", *(geo.name for geo in after.geos)}:
        elsewhere = sum(map(ne, before.assignment(geo), after.assignment(geo)))
        if elsewhere:
            lines.append(f"slots that are to be held by another group: {elsewhere}")
    for one, other in zip(before.groups, after.groups, strict=False):
        if (one.replicas, one.learners) != (other.replicas, other.learners):
            lines.append(
                f"group {one.number}: {', '.join(one.holders)} -> {', '.join(other.holders)}"
            )
    return lines


def _differences_of_geos(before: Topology, after: Topology) -> list[str]:
    old = {geo.name: geo for geo in before.geos}
    new = {geo.name: geo for geo in after.geos}
    return [
        f"geo {name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _shown(geo: Geo | None) -> str:
    return f"{', '.join(geo.tables)} in {', '.join(geo.regions)}" if geo is not None else "none"


def _node(topology: Topology, name: str) -> Node:
    node = topology.node_by_name.get(name)
    if node is None:
        gone = any(old.name == name for old in topology.removed)
        known = ", ".join(topology.node_by_name)
        raise TopologyRefused(
            f"node {name!r} has been removed already"
            if gone
            else f"there is no node {name!r}; there are {known}"
        )
    return node


def _require_free(topology: Topology, node: Node, leaving: str = "") -> None:
    """Name and addresses are nobody's, and the region is one of its kind."""
    if node.name in topology.node_by_name:
        raise TopologyRefused(f"there is a node {node.name!r} already; give it another name")
    used = {
        address: other.name
        for other in topology.nodes
        if other.name != leaving
        for address in (other.peer, other.client)
    }
    for address in (node.peer, node.client):
        if address in used:
            raise TopologyRefused(f"{address} is {used[address]}'s address already")
    if node.peer == node.client:
        raise TopologyRefused(f"{node.peer} cannot be both where peers and where clients reach it")
    for other in topology.nodes:
        if other.region == node.region and other.name != leaving and other.learner != node.learner:
            kind = "only reads" if other.learner else "has a vote"
            raise TopologyRefused(f"region {node.region} {kind}, and so must every node in it")
