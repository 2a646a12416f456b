"""A topology as JSON text: the unit of its binding, what peers tell each other, and what is kept.

Only what differs from the default is written of a node, so that it stays readable.
`decode_topology` accepts only what is a topology: all that a node does with it, it may do at once.
"""

import json
from typing import Any, Final

from globaltable.errors import ConfigError, ProtocolError
from globaltable.geo import Geo
from globaltable.limits import TOPOLOGY_BYTES_MAX
from globaltable.topology import Group, Node, Topology

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
    if topology.geos:
        value["geos"] = [_plain_geo(geo) for geo in topology.geos]
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def decode_topology(text: str) -> Topology:
    """Raises `ProtocolError` if it is none."""
    if len(text) > TOPOLOGY_BYTES_MAX:
        raise ProtocolError(f"a topology of {len(text)} characters; at most {TOPOLOGY_BYTES_MAX}")
    try:
        value = json.loads(text)
        groups = tuple(_group(item) for item in _list(value["groups"]))
        if [group.number for group in groups] != list(range(len(groups))):
            raise ProtocolError("groups are not numbered from 0")
        topology = Topology(
            cluster=_text(value["cluster"]),
            nodes=tuple(_node(item) for item in _list(value["nodes"])),
            groups=groups,
            slots=_number(value["slots"]),
            version=_number(value["version"]),
            removed=tuple(_node(item) for item in _list(value["removed"])),
            before=tuple(_group(item) for item in _list(value["before"])),
            geos=tuple(_geo(item) for item in _list(value.get("geos", []))),
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
    return plain


def _plain_geo(geo: Geo) -> dict[str, Any]:
    return {"name": geo.name, "regions": list(geo.regions), "tables": list(geo.tables)}


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
    return Group(_number(value["number"]), replicas, learners, _text(value.get("geo", "")))


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


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ProtocolError("not a number of 0 to 2^63")
    return value
