"""Changes of the topology: what comes of them, how little moves, and what is refused."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import topology_change as change
from globaltable.errors import ProtocolError
from globaltable.rebalance import moved
from globaltable.topology import Group, Node, Topology, spread
from globaltable.topology_change import TopologyRefused, same_members
from globaltable.wire.topologies import decode_topology, encode_topology

REGIONS = "abcdef"


def _node(name: str, region: str, *, learner: bool = False) -> Node:
    return Node(name, region, f"{name}:1", f"{name}:2", learner=learner)


def _cluster(regions: int = 3, groups: int = 8, replicas: int = 3, nodes: int = 1) -> Topology:
    every = [_node(f"{r}{i}", r) for r in REGIONS[:regions] for i in range(nodes)]
    return spread("test", every, groups, replicas)


def _require_level(topology: Topology) -> None:
    """Regions of a kind hold equally many, and so do the nodes of a region."""
    voters = Counter({n.name: 0 for n in topology.nodes if not n.learner})
    learners = Counter({n.name: 0 for n in topology.nodes if n.learner})
    for group in topology.groups:
        assert len(group.replicas) == topology.replicas
        voters.update(group.replicas)
        learners.update(group.learners)
    by_region: Counter[str] = Counter()
    for name, count in voters.items():
        by_region[topology.region_of[name]] += count
    assert max(by_region.values()) - min(by_region.values()) <= 1
    for region in {node.region for node in topology.nodes}:
        for held in (voters, learners):
            own = [count for name, count in held.items() if topology.region_of[name] == region]
            assert not own or max(own) - min(own) <= 1
    reading = {node.region for node in topology.nodes if node.learner}
    for group in topology.groups:
        assert {topology.region_of[name] for name in group.learners} == reading


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "learn", "remove", "replace", "resize", "drain", "undrain"]),
        st.integers(0, 7),
        st.sampled_from(REGIONS),
    ),
    max_size=14,
)


def _step(topology: Topology, what: str, which: int, region: str, fresh: str) -> Topology:
    old = topology.nodes[which % len(topology.nodes)].name
    match what:
        case "add":
            return change.add(topology, _node(fresh, region))
        case "learn":
            return change.add(topology, _node(fresh, region, learner=True))
        case "remove":
            return change.remove(topology, old)
        case "replace":
            return change.replace_node(topology, old, _node(fresh, region))
        case "resize":
            return change.with_replicas(topology, 8 - topology.replicas)
        case _:
            return change.drain(topology, old, undo=what == "undrain")


@given(steps, st.integers(1, 12), st.integers(1, 2))
def test_whatever_is_asked_for_groups_stay_whole_and_level(
    asked: list[tuple[str, int, str]], groups: int, nodes: int
) -> None:
    topology = _cluster(groups=groups, nodes=nodes)
    for number, (what, which, region) in enumerate(asked):
        try:
            after = _step(topology, what, which, region, f"n{number}")
        except TopologyRefused:
            continue
        assert after.version == topology.version + 1
        assert decode_topology(encode_topology(after)) == after
        if what in ("add", "learn", "remove", "resize"):
            _require_level(after)
        for group in after.groups:
            drained = {n.name for n in after.nodes if n.drained}
            assert after.preferred(group) not in drained
        topology = after


@given(st.integers(1, 12), st.sampled_from(REGIONS[:5]), st.integers(1, 3))
def test_no_more_moves_than_the_share_of_who_comes(rounds: int, region: str, nodes: int) -> None:
    groups = 3 * nodes * rounds
    topology = _cluster(groups=groups, nodes=nodes)
    after = change.add(topology, _node("new", region))
    share = sum("new" in group.holders for group in after.groups)
    assert moved(topology.groups, after.groups) == share
    of_region = 3 * groups / len({node.region for node in after.nodes})
    own = sum(node.region == region for node in after.nodes)
    assert of_region / own - 1 <= share <= of_region / own + 1
    again = change.remove(after, "new")
    assert all(map(same_members, topology.groups, again.groups)), "undone: all is as it was"


def test_a_node_that_is_replaced_hands_all_it_has_to_the_other() -> None:
    topology = _cluster()
    after = change.replace_node(topology, "b0", _node("d0", "d"))
    for old, new in zip(topology.groups, after.groups, strict=True):
        assert new.replicas == tuple("d0" if name == "b0" else name for name in old.replicas)
    assert [node.name for node in after.removed] == ["b0"]


def test_a_drained_region_leads_nothing_and_afterwards_what_it_led() -> None:
    topology = _cluster(nodes=2)
    drained = change.drain(topology, "a")
    assert drained.groups == topology.groups
    led = {drained.region_of[drained.preferred(group)] for group in drained.groups}
    assert led == {"b", "c"}
    undone = change.drain(drained, "a", undo=True)
    assert undone.plan_digest == topology.plan_digest


def test_a_region_that_only_reads_gets_a_learner_of_every_group() -> None:
    topology = change.add(_cluster(), _node("r0", "r", learner=True))
    assert all(group.learners == ("r0",) for group in topology.groups)
    both = change.add(topology, _node("r1", "r", learner=True))
    assert Counter(group.learners for group in both.groups) == {("r0",): 4, ("r1",): 4}
    assert moved(topology.groups, both.groups) == 4


def test_groups_grow_to_five_and_shrink_back_without_moving_what_stays() -> None:
    topology = _cluster(5, replicas=3)
    grown = change.with_replicas(topology, 5)
    for old, new in zip(topology.groups, grown.groups, strict=True):
        assert set(old.replicas) < set(new.replicas) and old.preferred == new.preferred
    shrunk = change.with_replicas(grown, 3)
    for old, new in zip(grown.groups, shrunk.groups, strict=True):
        assert set(new.replicas) < set(old.replicas) and old.preferred == new.preferred


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda t: change.remove(t, "a0"), "add a node in another region first"),
        (lambda t: change.remove(t, "z"), "there is no node 'z'"),
        (lambda t: change.add(t, _node("a0", "d")), "another name"),
        (lambda t: change.add(t, Node("d", "d", "a0:1", "d:2")), "a0:1 is a0's"),
        (lambda t: change.add(t, Node("d", "d", "d:1", "d:1")), "both"),
        (lambda t: change.add(t, _node("d", "a", learner=True)), "has a vote"),
        (lambda t: change.replace_node(t, "a0", _node("b1", "b")), "own region"),
        (lambda t: change.with_replicas(t, 5), "globaltable member add"),
        (lambda t: change.with_replicas(t, 4), "3 or 5"),
        (lambda t: change.with_replicas(t, 3), "already"),
        (lambda t: change.drain(t, "z"), "regions: a, b, c"),
        (lambda t: change.drain(t, "a", undo=True), "not drained"),
        (lambda t: change.drain(change.drain(change.drain(t, "a"), "b"), "c"), "nobody"),
        (lambda t: change.lead(t, ["z"] * 8), "no replica on 'z'"),
    ],
)
def test_what_cannot_be_is_refused_and_says_what_to_do(made: change.Change, says: str) -> None:
    with pytest.raises(TopologyRefused, match=says):
        made(_cluster())


def test_the_name_of_a_removed_node_comes_back_only_as_one_that_joins_anew() -> None:
    topology = change.remove(_cluster(4), "d0")
    again = change.add(topology, _node("d0", "d"))
    assert again.node_by_name["d0"].since == 2 != topology.removed[0].since
    assert not again.removed


def test_a_change_waits_for_the_last_unless_it_undoes_it_or_touches_other_groups() -> None:
    topology = _cluster()
    added = change.add(topology, _node("d0", "d"))
    touched = {group.number for group in added.before}
    assert touched and len(touched) < 8
    more = change.add(added, _node("e0", "e"))
    with pytest.raises(TopologyRefused, match="under way"):
        change.require_settled(added, more, touched)
    change.require_settled(added, more, ())
    change.require_settled(added, change.remove(added, "d0"), touched)
    change.require_settled(added, change.drain(added, "a"), touched)
    drained = change.drain(added, "a")
    change.require_settled(drained, change.remove(drained, "d0"), touched)


def test_differences_are_told_by_name() -> None:
    topology = _cluster()
    after = change.drain(change.replace_node(topology, "b0", _node("d0", "d")), "a")
    told = change.differences(topology, after)
    assert "node b0: removed" in told and "node d0: added" in told
    assert "node a0: drained False -> True" in told
    assert "group 0: a0, b0, c0 -> a0, d0, c0" in told
    assert change.differences(topology, topology) == []


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        encode_topology(_cluster()).replace('"slots":4096', '"slots":-1'),
        encode_topology(_cluster()).replace('"version":0', '"version":true'),
        encode_topology(_cluster()).replace('"number":1', '"number":3'),
        encode_topology(_cluster()).replace('["a0","b0","c0"]', '["a0","b0"]', 1),
        encode_topology(_cluster()).replace('["a0","b0","c0"]', '["a0","b0","x"]', 1),
        encode_topology(_cluster()).replace('"a0:1"', '"\\ud800"', 1),
    ],
)
def test_what_is_no_topology_is_refused(bad: str) -> None:
    with pytest.raises(ProtocolError):
        decode_topology(bad)


@given(st.text() | st.recursive(st.integers(), lambda c: st.lists(c), max_leaves=9).map(str))
def test_any_text_is_a_topology_or_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_topology(text)


def test_a_group_keeps_its_number_when_it_is_led_by_another() -> None:
    topology = _cluster(groups=2)
    led = change.lead(topology, ["b0", "c0"])
    assert led.groups[0] == Group(0, ("b0", "a0", "c0"))
