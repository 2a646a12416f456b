"""What is shown of a cluster: what its nodes say, with what is not well first, and in bounds."""

import json
from typing import Any

from globaltable.server.console.survey import Look
from globaltable.server.console.view import GROUPS_SHOWN_MAX, Standing, view
from globaltable.topology import Node, Topology, one_node_each, spread
from globaltable.topology_change import drain
from globaltable.v1 import globaltable_pb2 as pb

REGIONS = ("a", "b", "c")
LEADER, FOLLOWER = pb.ROLE_LEADER, pb.ROLE_FOLLOWER


def _topology(groups: int = 2) -> Topology:
    return spread("im", one_node_each(REGIONS), groups, 3, slots=1024)


def _group(number: int, role: Any, **more: Any) -> pb.GroupStatus:
    fields = {"term": 1, "commit_revision": 10, "applied_revision": 10, "slots": 8} | more
    return pb.GroupStatus(group=number, role=role, **fields)


def _status(node: str, *groups: pb.GroupStatus, down: str = "") -> pb.StatusResponse:
    peers = [
        pb.PeerStatus(node=other, region=other, connected=other != down, round_trip_s=0.0104)
        for other in REGIONS
        if other != node
    ]
    return pb.StatusResponse(node=node, region=node, groups=groups, peers=peers, uptime_s=5.0)


def _view(
    *statuses: pb.StatusResponse, topology: Topology | None = None, **silent: str
) -> dict[str, Any]:
    look = Look(7, 1_000.0, {one.node: one for one in statuses}, silent, {})
    shown = view(look, Standing(topology or _topology(), frozenset(), {}), {})
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    return shown


def _well(groups: int = 2) -> list[pb.StatusResponse]:
    """Group n is led by the (n mod 3)-th, as is preferred."""
    return [
        _status(
            node,
            *(_group(n, LEADER if n % 3 == place else FOLLOWER) for n in range(groups)),
        )
        for place, node in enumerate(REGIONS)
    ]


def test_a_cluster_that_is_well() -> None:
    shown = _view(*_well())
    assert (shown["nodes_silent"], shown["groups_ill"], shown["groups_in_all"]) == (0, 0, 2)
    assert [(g["number"], g["leader"], g["waits_for"]) for g in shown["groups"]] == [
        (0, "a", ""),
        (1, "b", ""),
    ]
    assert len(shown["links"]) == 6
    assert all(link["least_ms"] == 10.4 for link in shown["links"])


def test_links_are_told_from_both_ends_and_by_none_who_is_silent() -> None:
    a, b, _ = _well()
    a.peers[1].connected = False
    shown = _view(a, b, c="no answer within 1.5 s")
    links = {(one["from"], one["to"]): one for one in shown["links"]}
    assert (links["a", "c"]["connected"], links["a", "c"]["least_ms"]) == (0, None)
    assert links["b", "c"]["least_ms"] == 10.4
    assert links["c", "a"]["pairs"] == 0
    assert shown["nodes"][2]["silent"] == "no answer within 1.5 s"
    assert [one["role"] for one in shown["groups"][0]["replicas"]] == [
        *("leader", "follower", "silent"),
    ]


def test_regions_of_several_nodes_are_one_row_with_the_span_of_their_links() -> None:
    nodes = [*one_node_each(REGIONS), Node("a-2", "a")]
    topology = spread("im", nodes, 2, 3, slots=16)
    a, b, _ = _well()
    b.peers.add(node="a-2", region="a", connected=True, round_trip_s=0.02)
    links = {(o["from"], o["to"]): o for o in _view(a, b, topology=topology)["links"]}
    assert links["b", "a"] | {"least_ms": 10.4, "most_ms": 20.0, "pairs": 2} == links["b", "a"]
    assert ("a", "a") in links
    assert ("b", "b") not in links


def test_of_two_who_say_that_they_lead_the_later_term_counts() -> None:
    old = _status("a", _group(0, LEADER, term=3))
    new = _status("b", _group(0, LEADER, term=4))
    group = next(one for one in _view(old, new)["groups"] if one["number"] == 0)
    assert (group["leader"], group["term"]) == ("b", 4)
    assert [one["role"] for one in group["replicas"]] == ["follower", "leader", "silent"]


def test_what_a_replica_lacks_is_told_from_what_is_committed_anywhere() -> None:
    behind = _status("c", _group(0, FOLLOWER, commit_revision=4, applied_revision=4))
    shown = _view(*_well()[:2], behind)
    group = next(one for one in shown["groups"] if one["number"] == 0)
    assert {one["node"]: one["lag"] for one in group["replicas"]} == {"a": 0, "b": 0, "c": 6}


def test_ill_groups_come_first_then_those_on_their_way_and_there_are_not_too_many() -> None:
    many = GROUPS_SHOWN_MAX + 20
    statuses = _well(many)
    statuses[0].groups[many - 1].not_ready = "no leader is heard from"
    statuses[1].groups[many - 2].role = FOLLOWER  # whose leader it was
    shown = _view(*statuses, topology=_topology(many))
    assert len(shown["groups"]) == GROUPS_SHOWN_MAX
    assert shown["groups_hidden"] == 20
    assert {one["number"] for one in shown["groups"][:2]} >= {many - 1}
    assert all(one["ills"] for one in shown["groups"][: shown["groups_ill"]])


def test_a_drained_leader_is_waited_for_to_hand_over() -> None:
    shown = _view(*_well(), topology=drain(_topology(), "a"))
    waiting = {one["number"]: one["waits_for"] for one in shown["groups"]}
    assert waiting == {0: "b to lead it", 1: ""}
    assert shown["nodes"][0]["drained"]
    assert next(g for g in shown["groups"] if g["number"] == 0)["may_lead"] == ["b", "c"]
