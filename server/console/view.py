"""What the page shows of a cluster, as plain values for JSON: made of a look at all nodes. Pure.

What is not well comes first, and of groups at most `GROUPS_SHOWN_MAX` are shown: the others are
counted. Durations are milliseconds, as people read them; `None` is what is not known.

Invariant: there is no key in it, and no unit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from globaltable.pace import NodePace
from globaltable.server.console.course import Sample
from globaltable.server.console.survey import Look
from globaltable.topology import Group, Node, Topology
from globaltable.v1 import globaltable_pb2 as pb

GROUPS_SHOWN_MAX: Final = 200

Json = dict[str, Any]


class Standing(NamedTuple):
    """What this node knows of the cluster, beside what the nodes say."""

    topology: Topology
    unsettled: frozenset[int]
    """Groups that are not known to be as the topology wants them."""
    consoles: Mapping[str, str]
    """By node, where its console is, as far as the file says."""


def view(look: Look, standing: Standing, samples: Mapping[str, Sample | None]) -> Json:
    """`samples` are the latest of the latency's course, by node."""
    topology = standing.topology
    groups = sorted(
        (_group(look, standing, group) for group in topology.groups),
        key=lambda one: (not one["ills"], not one["waits_for"], one["number"]),
    )
    known = look.paces.values()
    return {
        "look": look.number,
        "at_ms": round(look.at_s * 1_000),
        "cluster": topology.cluster,
        "topology_version": topology.version,
        "nodes": [_node(look, standing, node, samples.get(node.name)) for node in topology.nodes],
        "links": [_link(look, topology, a, b) for a, b in _pairs(topology)],
        "groups": groups[:GROUPS_SHOWN_MAX],
        "groups_hidden": max(0, len(groups) - GROUPS_SHOWN_MAX),
        "groups_in_all": len(groups),
        "groups_ill": sum(bool(one["ills"]) for one in groups),
        "nodes_silent": len(look.silent),
        "writes_per_s": sum(one.ops for one in known),
        "reads_per_s": sum(one.keys_read for one in known),
    }


# --- nodes ----------------------------------------------------------------------------------------


def _node(look: Look, standing: Standing, node: Node, sample: Sample | None) -> Json:
    shown: Json = {
        "name": node.name,
        "region": node.region,
        "client": node.client,
        "console": standing.consoles.get(node.name),
        "drained": node.drained,
        "learner": node.learner,
        "silent": look.silent.get(node.name, ""),
    }
    status = look.statuses.get(node.name)
    if status is None:
        return shown
    ills = [f"group {one.group}: {one.not_ready}" for one in status.groups if one.not_ready]
    return shown | {
        "version": status.version,
        "uptime_s": round(status.uptime_s, 1),
        "leads": sum(one.role == pb.ROLE_LEADER for one in status.groups),
        "holds": len(status.groups),
        "ills": ills,
        "latency": sample_shown(sample) if sample is not None else None,
        **_rates(look.paces.get(node.name)),
    }


def _rates(pace: NodePace | None) -> Json:
    if pace is None:
        return dict.fromkeys(("writes_per_s", "reads_per_s", "refused_per_s", "failed_per_s"))
    return {
        "writes_per_s": round(pace.ops, 1),
        "reads_per_s": round(pace.keys_read, 1),
        "refused_per_s": round(pace.overloaded, 1),
        "failed_per_s": round(pace.failed, 1),
    }


def sample_shown(sample: Sample) -> Json:
    return {
        "at_ms": round(sample.at_s * 1_000),
        "p50_ms": _ms(sample.p50_s),
        "p99_ms": _ms(sample.p99_s),
        "batches": sample.batches,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 2)


# --- links ----------------------------------------------------------------------------------------


def _pairs(topology: Topology) -> Iterator[tuple[str, str]]:
    """Of regions, in both directions; of one with itself if it has several nodes."""
    nodes = [node.region for node in topology.nodes]
    regions = list(dict.fromkeys(nodes))
    for a in regions:
        for b in regions:
            if a != b or nodes.count(a) > 1:
                yield a, b


def _link(look: Look, topology: Topology, a: str, b: str) -> Json:
    """As the nodes of region `a` measure it; of those that answer."""
    named = topology.node_by_name
    peers = [
        peer
        for name, status in look.statuses.items()
        if name in named and named[name].region == a
        for peer in status.peers
        if peer.node in named and named[peer.node].region == b
    ]
    measured = [peer.round_trip_s for peer in peers if peer.connected and peer.round_trip_s > 0]
    return {
        "from": a,
        "to": b,
        "pairs": len(peers),
        "connected": sum(peer.connected for peer in peers),
        "least_ms": _ms(min(measured)) if measured else None,
        "most_ms": _ms(max(measured)) if measured else None,
    }


# --- groups ---------------------------------------------------------------------------------------


def _group(look: Look, standing: Standing, group: Group) -> Json:
    topology = standing.topology
    held: dict[str, pb.GroupStatus] = {
        name: one
        for name, status in look.statuses.items()
        for one in status.groups
        if one.group == group.number
    }
    leaders = [name for name, one in held.items() if one.role == pb.ROLE_LEADER]
    # One that was cut off may go on to say that it leads, in the term before.
    leader = max(leaders, key=lambda name: held[name].term, default="")
    preferred = topology.preferred(group)
    committed = max((one.commit_revision for one in held.values()), default=0)
    slots = [held[leader].slots] if leader else [one.slots for one in held.values()]
    shown = list(dict.fromkeys((*group.holders, *held)))
    return {
        "number": group.number,
        "geo": group.geo,
        "leader": leader,
        "preferred": preferred,
        "may_lead": [name for name in group.replicas if not topology.node_by_name[name].drained],
        "term": max((one.term for one in held.values()), default=0),
        "committed": committed,
        "slots": max(slots, default=0),
        "pending": sum(one.pending_ops for one in held.values()),
        "replicas": [_replica(name, held.get(name), group, leader, committed) for name in shown],
        "ills": _ills(held, leader),
        "waits_for": _waits_for(look, standing, group, leader, preferred),
    }


def _replica(
    name: str, one: pb.GroupStatus | None, group: Group, leader: str, committed: int
) -> Json:
    if one is None:
        return {"node": name, "role": "silent"}
    if one.failed:
        return {"node": name, "role": "failed"}
    role = "leader" if name == leader else "learner" if name in group.learners else "follower"
    return {
        "node": name,
        "role": role,
        "applied": one.applied_revision,
        "lag": max(0, committed - one.applied_revision),
        "log_entries": max(0, one.last_log_index - one.first_log_index + 1),
    }


def _ills(held: Mapping[str, pb.GroupStatus], leader: str) -> Sequence[str]:
    ills = [f"{name}: {one.not_ready}" for name, one in held.items() if one.not_ready]
    return ills if leader else ["nobody leads it, of those who answer", *ills]


def _waits_for(look: Look, standing: Standing, group: Group, leader: str, preferred: str) -> str:
    """What it is on its way to; empty if it is as wanted."""
    if group.number in standing.unsettled:
        return f"its members to be {_and(group.holders)}"
    if leader and leader != preferred and preferred not in look.silent:
        return f"{preferred} to lead it"
    return ""


def _and(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
