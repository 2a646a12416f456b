"""New topologies with more groups, or with slots assigned to other groups, as pure functions.

As those of `topology_change`: each returns the whole topology as it should be, or raises
`TopologyRefused`, or `UpgradeNotFinal` while members may be too old for it. How slots get where
they are assigned is not known here (`slot_moves`).

Invariants: groups are only added, and stay where they are; slots stay within their geo; no more
slots are assigned anew than must be (`slot_deal`).
"""

from collections.abc import Sequence
from dataclasses import replace

from globaltable.geo import EVERYWHERE, Geo
from globaltable.rebalance import grown
from globaltable.slot_deal import dealt_evenly
from globaltable.topology import Assigned, Topology
from globaltable.topology_change import TopologyRefused, next_version


def grow(topology: Topology, groups: int, *, geo: str = "", empty: bool = False) -> Topology:
    """More groups of a geo, until it has so many; and its slots dealt evenly among all of them, as
    few moving as can, unless the new ones are to be `empty` at first."""
    topology.require_slots_may_move()
    of = _geo(topology, geo)
    present = len(topology.groups_in(geo))
    if groups <= present:
        raise TopologyRefused(
            f"{groups} groups: there are {present} already, and groups are only added, for each is "
            "a log that was written"
        )
    if groups > topology.slots:
        raise TopologyRefused(
            f"{groups} groups cannot share {topology.slots} slots, which is how many there are for "
            "good: give no more groups than that"
        )
    more = next_version(topology, groups=grown(topology, of, groups - present))
    return more if empty else _assign(more, geo, _dealt(more, geo), before=topology.assigned)


def deal_slots(topology: Topology, *, geo: str = "") -> Topology:
    """The slots of a geo dealt evenly among its groups, as few moving as can."""
    topology.require_slots_may_move()
    _geo(topology, geo)
    dealt = _dealt(topology, geo)
    if dealt == topology.assignment(geo):
        raise TopologyRefused("every group is to hold its share of the slots already")
    return _assign(next_version(topology), geo, dealt, before=topology.assigned)


def move_slots(topology: Topology, slots: Sequence[int], to: int) -> Topology:
    """These slots, of the geo of a group, are to be held by it."""
    topology.require_slots_may_move()
    if not 0 <= to < len(topology.groups):
        raise TopologyRefused(
            f"there is no group {to}: the groups are 0 to {len(topology.groups) - 1}; "
            "`globaltable groups grow` adds some"
        )
    geo = topology.groups[to].geo
    if not geo and 0 in slots and to != 0:
        raise TopologyRefused("slot 0, in which the topology is kept, stays in group 0")
    assigned = list(topology.assignment(geo))
    for slot in slots:
        assigned[slot] = to
    if tuple(assigned) == topology.assignment(geo):
        raise TopologyRefused(f"group {to} is to hold these slots already")
    return _assign(next_version(topology), geo, assigned, before=topology.assigned)


def undo_slots(topology: Topology) -> Topology:
    """Slots assigned as they were before that was changed last."""
    topology.require_slots_may_move()
    after = next_version(
        topology, assigned=topology.assigned_before, assigned_before=topology.assigned
    )
    if not assigned_anew(after):
        raise TopologyRefused("no slots have been assigned to other groups: nothing is to undo")
    return after


def assigned_anew(topology: Topology) -> list[tuple[str, int]]:
    """The slots, each with its geo, that were assigned to other groups by the last such change."""
    before = replace(topology, assigned=topology.assigned_before)
    geos = ("", *(geo.name for geo in topology.geos))
    return [
        (geo, slot)
        for geo in geos
        for slot, group in enumerate(topology.assignment(geo))
        if group != before.assignment(geo)[slot]
    ]


def _geo(topology: Topology, name: str) -> Geo:
    for geo in (EVERYWHERE, *topology.geos):
        if geo.name == name:
            return geo
    known = ", ".join(geo.name for geo in topology.geos) or "none"
    raise TopologyRefused(f"there is no geo {name!r}; there are {known}")


def _dealt(topology: Topology, geo: str) -> tuple[int, ...]:
    numbers = [group.number for group in topology.groups_in(geo)]
    index = {number: at for at, number in enumerate(numbers)}
    owners = [index[number] for number in topology.assignment(geo)]
    return tuple(numbers[at] for at in dealt_evenly(owners, len(numbers)))


def _assign(topology: Topology, geo: str, assigned: Sequence[int], *, before: Assigned) -> Topology:
    """Of a topology that is new already."""
    others = [one for one in topology.assigned if one[0] != geo]
    now = tuple(sorted([*others, (geo, tuple(assigned))]))
    return replace(topology, assigned=now, assigned_before=before)
