"""A topology as JSON text: the unit of its binding, what peers tell each other, and what is kept.

Only what differs from the default is written of a node, so that it stays readable.
`decode_topology` accepts only what is a topology: all that a node does with it, it may do at once.
A text that needs more than a node understands says in which format it is, and which level is in
force, and is refused: to act on half of it would be worse than to stand still.
"""

import json
from typing import Any, Final

from globaltable.errors import ConfigError, NewerFormat, ProtocolError
from globaltable.geo import Geo
from globaltable.levels import FIRST, why_not_understood
from globaltable.limits import TOPOLOGY_BYTES_MAX
from globaltable.slot_ranges import format_slots, parse_slots
from globaltable.topology import SLOTS_MAX, Assigned, Group, Node, Topology

FORMAT: Final = 2
"""1: the groups are those that the cluster was founded with. 2: groups may be added to them, and
slots assigned."""

_FLAGS: Final = ("learner", "drained")


def encode_topology(topology: Topology) -> str:
    value: dict[str, Any] = {
        "cluster": topology.cluster,
        "version": topology.version,
        "slots": topology.slots,
        "nodes": [_plain_node(node) for node in topology.nodes],
        "groups": [_plain_group(group) for group in topology.groups],
        "removed": [_plain_node(node) for node in topology.removed],
        "before": [_plain_group(group) for group in topology.before],
    }
    if topology.level > FIRST:
        value["level"] = topology.level
    if topology.is_extended:
        value["format"] = FORMAT
        value["assigned"] = _plain_assigned(topology.assigned)
        value["assigned_before"] = _plain_assigned(topology.assigned_before)
    if topology.geos:
        value["geos"] = [_plain_geo(geo) for geo in topology.geos]
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def decode_topology(text: str) -> Topology:
    """Raises `ProtocolError` if it is none, `NewerFormat` if it is of a release to come."""
    if len(text) > TOPOLOGY_BYTES_MAX:
        raise ProtocolError(f"a topology of {len(text)} characters; at most {TOPOLOGY_BYTES_MAX}")
    try:
        value = json.loads(text)
        if type(value) is not dict:
            raise ProtocolError("not an object")
        if (spoken := _number(value.get("format", 1))) > FORMAT:
            raise NewerFormat(
                f"the topology is written in format {spoken}, and this version of globaltable "
                f"reads {FORMAT}: start the node with a newer one"
            )
        level = _number(value.get("level", FIRST))
        if reason := why_not_understood(level):
            raise NewerFormat(f"cluster {_text(value['cluster'])!r}: {reason}")
        groups = tuple(_group(item) for item in _list(value["groups"]))
        if [group.number for group in groups] != list(range(len(groups))):
            raise ProtocolError("groups are not numbered from 0")
        slots = _slots(value["slots"])
        topology = Topology(
            cluster=_text(value["cluster"]),
            nodes=tuple(_node(item) for item in _list(value["nodes"])),
            groups=groups,
            slots=slots,
            version=_number(value["version"]),
            removed=tuple(_node(item) for item in _list(value["removed"])),
            before=tuple(_group(item) for item in _list(value["before"])),
            assigned=_assigned(value.get("assigned", {}), slots),
            assigned_before=_assigned(value.get("assigned_before", {}), slots),
            geos=tuple(_geo(item) for item in _list(value.get("geos", []))),
            level=level,
        )
        if not all(group.replicas for group in groups):
            raise ProtocolError("a group has no replicas")
        if len({len(group.replicas) for group in groups}) > 1:
            raise ProtocolError("groups differ in how many replicas they have")
        topology.plan_digest  # noqa: B018  # whatever it encodes can be encoded
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise ProtocolError(f"not a topology: {type(error).__name__}: {error}") from error
    return topology


def _plain_node(node: Node) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": node.name,
        "region": node.region,
        "peer": node.peer,
        "client": node.client,
    }
    plain.update({flag: True for flag in _FLAGS if getattr(node, flag)})
    if node.since:
        plain["since"] = node.since
    return plain


def _plain_group(group: Group) -> dict[str, Any]:
    plain: dict[str, Any] = {"number": group.number, "replicas": list(group.replicas)}
    if group.learners:
        plain["learners"] = list(group.learners)
    if group.geo:
        plain["geo"] = group.geo
    if group.since:
        plain |= {"since": group.since, "founders": list(group.founders)}
    return plain


def _plain_geo(geo: Geo) -> dict[str, Any]:
    return {"name": geo.name, "regions": list(geo.regions), "tables": list(geo.tables)}


def _plain_assigned(assigned: Assigned) -> dict[str, dict[str, str]]:
    """By geo, slots by group, as an operator writes them."""
    plain: dict[str, dict[str, str]] = {}
    for geo, groups in assigned:
        slots: dict[int, list[int]] = {}
        for slot, group in enumerate(groups):
            slots.setdefault(group, []).append(slot)
        plain[geo] = {str(group): format_slots(slots[group]) for group in sorted(slots)}
    return plain


def _assigned(value: Any, slots: int) -> Assigned:
    if type(value) is not dict:
        raise ProtocolError("not slots by geo")
    return tuple((_text(geo), _groups_by_slot(value[geo], slots)) for geo in sorted(value))


def _groups_by_slot(value: Any, slots: int) -> tuple[int, ...]:
    if type(value) is not dict:
        raise ProtocolError("not slots by group")
    groups = [-1] * slots
    for number, text in value.items():
        if not (number.isascii() and number.isdigit() and len(number) <= 5):
            raise ProtocolError("slots are assigned to a number of a group")
        for slot in parse_slots(_long_text(text), slots):
            if groups[slot] >= 0:
                raise ProtocolError(f"slot {slot} is assigned twice")
            groups[slot] = int(number)
    if min(groups) < 0:
        raise ProtocolError(f"slot {groups.index(-1)} is assigned to no group")
    return tuple(groups)


def _node(value: Any) -> Node:
    flags = {flag: value.get(flag, False) for flag in _FLAGS}
    if any(type(flag) is not bool for flag in flags.values()):
        raise ProtocolError("a node's flags are true or false")
    return Node(
        name=_text(value["name"]),
        region=_text(value["region"]),
        peer=_text(value["peer"]),
        client=_text(value["client"]),
        since=_number(value.get("since", 0)),
        **flags,
    )


def _group(value: Any) -> Group:
    replicas = tuple(_text(name) for name in _list(value["replicas"]))
    learners = tuple(_text(name) for name in _list(value.get("learners", [])))
    founders = tuple(_text(name) for name in _list(value.get("founders", [])))
    since = _number(value.get("since", 0))
    if bool(since) != bool(founders):
        raise ProtocolError("a group that was added says by whom it was founded, and no other does")
    geo = _text(value.get("geo", ""))
    return Group(_number(value["number"]), replicas, learners, geo, since, founders)


def _geo(value: Any) -> Geo:
    name = _text(value["name"])
    if not name:
        raise ProtocolError("a geo without a name")
    regions = tuple(_text(region) for region in _list(value["regions"]))
    return Geo(name, regions, tuple(_text(table) for table in _list(value["tables"])))


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ProtocolError("not a list")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or "\0" in value or len(value.encode()) > 255:
        raise ProtocolError("a name or an address is text of up to 255 bytes")
    return value


def _long_text(value: Any) -> str:
    if type(value) is not str:
        raise ProtocolError("not text")
    return value


def _slots(value: Any) -> int:
    if not 1 <= _number(value) <= SLOTS_MAX:
        raise ProtocolError(f"not a number of slots, 1 to {SLOTS_MAX}")
    return int(value)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ProtocolError("not a number of 0 to 2^63")
    return value
