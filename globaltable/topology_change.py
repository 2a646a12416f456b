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
from globaltable.rebalance import grown, rebalanced
from globaltable.slot_deal import dealt_evenly
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
        return _next(topology, nodes=tuple(nodes), groups=groups, **fields)
    except ConfigError as error:
        raise TopologyRefused(str(error)) from error


def _next(topology: Topology, **fields: object) -> Topology:
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

    nodes = tuple(joined if other.name == name else other for other in topology.nodes)
    groups = tuple(
        replace(g, replicas=swapped(g.replicas), learners=swapped(g.learners))
        for g in topology.groups
    )
    removed = (*(old for old in topology.removed if old.name != node.name), gone)
    return _next(topology, nodes=nodes, groups=groups, removed=removed)


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
    return _next(topology, nodes=nodes)


def lead(topology: Topology, leaders: Sequence[str]) -> Topology:
    """Each group, by its number, is to be led by one of its replicas."""
    try:
        led = topology.led_by(leaders)
    except ConfigError as error:
        raise TopologyRefused(str(error)) from error
    if led.groups == topology.groups:
        raise TopologyRefused("the groups are led so already")
    return _next(topology, groups=led.groups)


def grow(topology: Topology, groups: int, *, empty: bool = False) -> Topology:
    """More groups, beside those that there are; and the slots dealt evenly among all of them, as
    few moving as can, unless the new ones are to be `empty` at first."""
    if groups <= len(topology.groups):
        raise TopologyRefused(
            f"{groups} groups: there are {len(topology.groups)} already, and groups are only "
            "added, for each is a log that was written"
        )
    if groups > topology.slots:
        raise TopologyRefused(
            f"{groups} groups cannot share {topology.slots} slots, which is how many there are for "
            "good: give no more groups than that"
        )
    fields: dict[str, object] = {"groups": grown(topology, groups)}
    if not empty:
        fields["assigned"] = dealt_evenly(topology.assignment, groups)
        fields["assigned_before"] = topology.assigned
    return _next(topology, **fields)


def deal_slots(topology: Topology) -> Topology:
    """Slots dealt evenly among the groups that there are, as few moving as can."""
    dealt = dealt_evenly(topology.assignment, len(topology.groups))
    if dealt == tuple(topology.assignment):
        raise TopologyRefused("every group is to hold its share of the slots already")
    return _next(topology, assigned=dealt, assigned_before=topology.assigned)


def undo_slots(topology: Topology) -> Topology:
    """Slots assigned as they were before that was changed last."""
    before = replace(topology, assigned=topology.assigned_before)
    if list(before.assignment) == list(topology.assignment):
        raise TopologyRefused("no slots have been assigned to other groups: nothing is to undo")
    return _next(before, assigned_before=topology.assigned)


def move_slots(topology: Topology, slots: Sequence[int], to: int) -> Topology:
    """These slots are to be held by that group."""
    if not 0 <= to < len(topology.groups):
        raise TopologyRefused(
            f"there is no group {to}: the groups are 0 to {len(topology.groups) - 1}; "
            "`globaltable groups grow` adds some"
        )
    if 0 in slots and to != 0:
        raise TopologyRefused("slot 0, in which the topology is kept, stays in group 0")
    assigned = list(topology.assignment)
    for slot in slots:
        assigned[slot] = to
    if assigned == list(topology.assignment):
        raise TopologyRefused(f"group {to} is to hold these slots already")
    return _next(topology, assigned=tuple(assigned), assigned_before=topology.assigned)


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
    """Whether a later topology can be one of this cluster: what was founded is so for good, and
    groups are only added. Raises `ProtocolError`."""
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
    if before.founding_groups != after.founding_groups or before.slots != after.slots:
        lines.append(
            f"groups and slots of the founding: {before.founding_groups}, {before.slots} -> "
            f"{after.founding_groups}, {after.slots}"
        )
        return lines
    if len(before.groups) != len(after.groups):
        lines.append(f"groups: {len(before.groups)} -> {len(after.groups)}")
    elsewhere = sum(map(ne, before.assignment, after.assignment))
    if elsewhere:
        lines.append(f"slots that are to be held by another group: {elsewhere}")
    for one, other in zip(before.groups, after.groups, strict=False):
        if (one.replicas, one.learners) != (other.replicas, other.learners):
            lines.append(
                f"group {one.number}: {', '.join(one.holders)} -> {', '.join(other.holders)}"
            )
    return lines


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
