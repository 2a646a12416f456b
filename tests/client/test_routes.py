"""What a client believes of who holds what, and where it asks for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.client._nodes import Nodes
from globaltable.client._routes import ANY, Routes, read_topology, topology_request
from globaltable.topology import Node, spread
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.topologies import told

TABLE = "im.session"
NODES = {"a-1": "a1:1", "a-2": "a2:1", "b-1": "b1:1", "b-2": "b2:1"}
HALVES = [["a-1", "b-1"], ["a-2", "b-2"]]


def _routes(*given: str, discover: bool = True, said: pb.TopologyResponse) -> tuple[Routes, Nodes]:
    nodes, routes = Nodes(given, 0.0), Routes(TABLE)
    topology = read_topology(said.SerializeToString()).topology
    assert topology is not None and routes.is_news(topology)
    nodes.learn(topology.nodes, 0.0, discover=discover)
    assert routes.learn(topology, nodes.numbers_of)
    return routes, nodes


@given(st.text(min_size=1, max_size=20), st.integers(1, 9), st.sampled_from([64, 1_000, 4_096]))
def test_a_key_is_asked_for_where_the_servers_have_it(key: str, groups: int, slots: int) -> None:
    names = [f"{region}-{number}" for region in "abc" for number in (1, 2)]
    topology = spread("test", [Node(name, name[0]) for name in names], groups, 3, slots)
    addresses = {name: f"{name}:1" for name in names}
    said = told(addresses, [group.replicas for group in topology.groups], slots=slots)
    routes, nodes = _routes("a-1:1", said=said)
    group = topology.groups[topology.group_of(f"{TABLE}\0{key}".encode())]
    asked = {nodes.address(number) for number in range(6) if routes.of_key(key) >> number & 1}
    assert asked == {addresses[name] for name in group.replicas}


def test_one_set_of_holders_is_told_without_looking_at_the_key() -> None:
    routes, _ = _routes("a1:1", said=told(NODES, [list(NODES)] * 3))
    assert routes.only == 0b1111 and routes.of_key("k") == 0b1111


def test_without_discovery_nobody_is_asked_but_those_given() -> None:
    routes, _ = _routes("a1:1", "b1:1", discover=False, said=told(NODES, HALVES))
    assert dict(routes.groups()) == {0b11: [0], ANY: [1]}


def test_a_node_given_under_another_address_is_known_by_its_name() -> None:
    said = told(NODES, HALVES)
    nodes, routes = Nodes(["somewhere:1"], 0.0), Routes(TABLE)
    topology = read_topology(said.SerializeToString()).topology
    assert topology is not None
    nodes.learn(topology.nodes, 0.0, discover=False)
    routes.learn(topology, nodes.numbers_of)
    assert routes.only == ANY
    assert nodes.is_named(0, "a-2") and not nodes.is_named(0, "a-2")
    assert routes.learn(topology, nodes.numbers_of)
    assert dict(routes.groups()) == {ANY: [0], 1: [1]}


def test_every_slot_is_held_by_one_set() -> None:
    routes, _ = _routes("a1:1", said=told(NODES, HALVES, slots=100))
    slots = dict(routes.slots())
    assert sorted(slots) == sorted({routes.of_key(f"k{n}") for n in range(50)})
    assert sum(slots.values()) == (1 << 100) - 1


def test_what_is_not_newer_is_no_news() -> None:
    routes, nodes = _routes("a1:1", said=told(NODES, HALVES, version=7))
    older = read_topology(told(NODES, HALVES, version=6).SerializeToString()).topology
    assert older is not None and routes.known is not None
    assert not routes.is_news(older) and not routes.is_news(routes.known)
    request = pb.TopologyRequest.FromString(topology_request(TABLE, routes.known))
    assert (request.table, request.known_version) == (TABLE, 8)
    assert not routes.learn(routes.known, nodes.numbers_of), "nothing goes elsewhere for it"


def test_nodes_that_are_gone_are_let_go_of_but_for_those_given() -> None:
    said = told(NODES, HALVES)
    _, nodes = _routes("a1:1", said=said)
    later = read_topology(told({"c-1": "c1:1"}, [["c-1"]], version=2).SerializeToString()).topology
    assert later is not None
    nodes.learn(later.nodes, 1.0, discover=True)
    assert nodes.take_retired() == [1, 2, 3] and nodes.take_retired() == []
    assert nodes.address(4) == "c1:1" and nodes.numbers_of(later.nodes[0]) == 0b10000
    assert set(nodes.take_probes(1.0)) == {0, 4}


def _changed(**fields: object) -> pb.TopologyResponse:
    said = told(NODES, HALVES)
    for name, value in fields.items():
        said.ClearField(name)
        if isinstance(value, list):
            getattr(said, name).extend(value)
        else:
            setattr(said, name, value)
    return said


@pytest.mark.parametrize(
    "said",
    [
        pb.TopologyResponse(version=4, node="a-1"),
        _changed(slots=0),
        _changed(slots=1),
        _changed(slots=65_537),
        _changed(owners=[]),
        _changed(owners=[0, 2]),
        _changed(version=2**63),
        _changed(nodes=[]),
        _changed(groups=[]),
        _changed(groups=[pb.TopologyGroup(holders=[0]), pb.TopologyGroup()]),
        _changed(groups=[pb.TopologyGroup(holders=[0]), pb.TopologyGroup(holders=[4])]),
        _changed(groups=[pb.TopologyGroup(holders=[0] * 17)] * 2),
        told({"a-1": "a:1", "a-2": "a:1"}, [["a-1"], ["a-2"]]),
        told({"a-1": "no port"}, [["a-1"]]),
        told({"a-1": "a:" + "9" * 5_000}, [["a-1"]]),
        told({"n" * 65: "a:1"}, [["n" * 65]]),
        _changed(nodes=[pb.TopologyNode(name=f"n{n}", region="r", address=f"h:{n + 1}")
                        for n in range(1_025)]),
    ],
    ids=lambda said: f"{said.ByteSize()} bytes",
)  # fmt: skip
def test_what_no_topology_can_be_is_not_believed(said: pb.TopologyResponse) -> None:
    assert read_topology(said.SerializeToString()).topology is None


def test_garbage_says_nothing() -> None:
    assert read_topology(b"\xff\xff") == ("", None)
