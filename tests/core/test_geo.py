"""Geos: a table's rows are in the groups of its geo, and those in its regions, whatever changes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import topology_change as change
from globaltable.errors import ConfigError, ProtocolError
from globaltable.geo import EVERYWHERE, Geo, geo_of, require_apart
from globaltable.model import SYSTEM_TABLE, TOPOLOGY_NAME, qualified_name
from globaltable.placement import RoundTrips, callers_in, placed, planned_leaders
from globaltable.topology import Group, Node, Topology, spread
from globaltable.topology_change import TopologyRefused, same_members
from globaltable.wire.topologies import decode_topology, encode_topology

REGIONS = "abcdef"
EU = Geo("eu", ("a", "b", "c"), ("eu.session", "eu.room.*"))
ASIA = Geo("asia", ("b", "c", "d", "e"), ("asia.*",))
TABLES = (
    "im.session",
    "eu.session",
    "eu.session2",
    "eu.room.small",
    "asia.a",
    "asia.",
    "globaltable",
)


def _node(name: str, region: str, *, learner: bool = False) -> Node:
    return Node(name, region, f"{name}:1", f"{name}:2", learner=learner)


def _cluster(nodes: int = 1, slots: int = 4_096) -> Topology:
    every = [_node(f"{r}{i}", r) for r in REGIONS[:5] for i in range(nodes)]
    return spread("test", every, 4, 3, slots, [(EU, 3), (ASIA, 4)])


class TestTables:
    @pytest.mark.parametrize(
        ("table", "geo"),
        [
            ("im.session", ""),
            ("eu.session", "eu"),
            ("eu.session2", ""),
            ("eu.room", ""),
            ("eu.room.small", "eu"),
            ("asia.anything", "asia"),
            (SYSTEM_TABLE, ""),
        ],
    )
    def test_a_table_is_in_the_geo_that_names_it(self, table: str, geo: str) -> None:
        assert geo_of((EU, ASIA), table).name == geo
        assert _cluster().geo_of(table).name == geo

    def test_what_the_cluster_keeps_about_itself_is_in_none(self) -> None:
        assert geo_of([Geo("g", ("a",), ("globaltable*",))], SYSTEM_TABLE) is EVERYWHERE
        assert _cluster().group_of(TOPOLOGY_NAME) == 0

    @pytest.mark.parametrize(
        ("one", "other"),
        [("t", "t"), ("t.*", "t.a"), ("t.a", "t.*"), ("t.*", "t.a.*"), ("t.a*", "t.*")],
    )
    def test_two_geos_share_no_table(self, one: str, other: str) -> None:
        with pytest.raises(ConfigError, match="share names"):
            require_apart([Geo("x", ("a",), (one,)), Geo("y", ("a",), (other,))])

    def test_names_that_only_look_alike_are_apart(self) -> None:
        require_apart([Geo("x", ("a",), ("t.a", "t.b*")), Geo("y", ("a",), ("t.ab", "t.c*", "t"))])

    @pytest.mark.parametrize(
        ("regions", "tables", "says"),
        [
            ((), ("t",), "regions"),
            (("a", "a"), ("t",), "each once"),
            (("a",), (), "tables"),
            (("a",), ("*",), "table is empty"),
            (("a",), ("t*x",), "letters"),
            (("a",), (SYSTEM_TABLE,), "letters"),
        ],
    )
    def test_what_is_no_geo_is_refused(
        self, regions: tuple[str, ...], tables: tuple[str, ...], says: str
    ) -> None:
        with pytest.raises(ConfigError, match=says):
            Geo("g", regions, tables)


class TestOwners:
    @given(st.sampled_from(TABLES), st.text(min_size=1, max_size=8), st.sampled_from([16, 4_096]))
    def test_a_key_is_in_a_group_of_its_tables_geo(self, table: str, key: str, slots: int) -> None:
        topology = _cluster(slots=slots)
        name = qualified_name(table, key)
        group = topology.groups[topology.group_of(name)]
        assert group.geo == topology.geo_of(table).name
        assert topology.groups_of([name, TOPOLOGY_NAME]) == [group.number, 0]
        assert {topology.region_of[n] for n in group.holders} <= {
            "": {*REGIONS[:5]}, "eu": {*EU.regions}, "asia": {*ASIA.regions}
        }[group.geo]  # fmt: skip

    @pytest.mark.parametrize("table", TABLES)
    def test_every_slot_of_a_table_is_in_one_group_of_its_geo(self, table: str) -> None:
        topology = _cluster()
        owners = topology.owners_of(table)
        assert [*owners] == [g.number for g in topology.groups_in(topology.geo_of(table).name)]
        owned = [(slot, number) for number in owners for slot in topology.slots_of_group(number)]
        assert sorted(slot for slot, _ in owned) == [*range(4_096)]
        assert all(topology.group_of_slot(slot, table) == number for slot, number in owned)

    def test_what_is_remembered_of_tables_is_bounded(self) -> None:
        topology = _cluster()
        for number in range(3_000):
            topology.owners_of(f"eu.room.{number}")
        assert len(topology._owners) <= 1_024
        assert topology.owners_of("eu.room.2999") == (4, 5, 6)


class TestTopology:
    def test_as_text_it_is_the_same(self) -> None:
        topology = _cluster()
        assert decode_topology(encode_topology(topology)) == topology

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"geo":"eu"', '"geo":"us"'),
            ('"regions":["a","b","c"]', '"regions":["a","b"]'),
            ('"tables":["asia.*"]', '"tables":["eu.session"]'),
            ('"tables":["asia.*"]', '"tables":"asia.*"'),
            ('{"name":"asia",', '{"name":"",'),
            ('{"number":0,', '{"geo":"eu","number":0,'),
        ],
    )
    def test_text_that_keeps_no_geo_is_none(self, old: str, new: str) -> None:
        text = encode_topology(_cluster())
        assert old in text
        with pytest.raises(ProtocolError):
            decode_topology(text.replace(old, new))

    def test_a_geo_with_too_few_regions_is_refused(self) -> None:
        nodes = [_node(region, region) for region in "abd"]
        with pytest.raises(ConfigError, match="only 2 regions with nodes in geo eu"):
            spread("test", nodes, 1, 3, geos=[(EU, 1)])

    def test_a_group_outside_its_geo_is_refused(self) -> None:
        nodes = tuple(_node(region, region) for region in "abcd")
        groups = (Group(0, ("a", "b", "c")), Group(1, ("a", "b", "d"), (), "eu"))
        with pytest.raises(
            ConfigError, match="group 1 of geo eu would be in d, and may be in a, b"
        ):
            Topology("test", nodes, groups, geos=(EU,))


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "learn", "remove", "replace", "resize", "drain", "geo"]),
        st.integers(0, 11),
        st.sampled_from(REGIONS),
        st.sets(st.sampled_from(REGIONS), min_size=2, max_size=6),
    ),
    max_size=14,
)


def _step(
    topology: Topology, what: str, which: int, region: str, regions: set[str], fresh: str
) -> Topology:
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
        case "geo":
            geo = topology.geos[which % len(topology.geos)].name
            return change.with_geo_regions(topology, geo, sorted(regions))
        case _:
            return change.drain(topology, old)


@given(steps, st.integers(1, 2))
def test_whatever_is_asked_for_rows_stay_in_their_geo(
    asked: list[tuple[str, int, str, set[str]]], nodes: int
) -> None:
    """Replicas and learners, of every version in turn; and each geo is level by itself."""
    topology = _cluster(nodes)
    for number, (what, which, region, regions) in enumerate(asked):
        try:
            after = _step(topology, what, which, region, regions, f"n{number}")
        except TopologyRefused:
            continue
        assert decode_topology(encode_topology(after)) == after
        assert [g.geo for g in after.groups] == [g.geo for g in topology.groups]
        for geo in (EVERYWHERE, *after.geos):
            held: Counter[str] = Counter()
            for group in after.groups_in(geo.name):
                inside = [after.region_of[name] for name in group.holders]
                assert all(map(geo.allows, inside))
                held.update(after.region_of[name] for name in group.replicas)
            if what not in ("replace", "drain"):
                voting = {n.region for n in after.nodes if not n.learner and geo.allows(n.region)}
                counts = [held[region] for region in voting]
                assert max(counts) - min(counts) <= 1
        topology = after


class TestRefused:
    def test_a_geo_that_would_have_too_few_regions(self) -> None:
        with pytest.raises(TopologyRefused, match=r"geo eu would have 2 regions .*member add"):
            change.remove(_cluster(), "a0")
        with pytest.raises(TopologyRefused, match=r"geo eu would have 3 regions .* 5 replicas"):
            change.with_replicas(_cluster(), 5)
        with pytest.raises(TopologyRefused, match="geo eu would have 2 regions"):
            change.with_geo_regions(_cluster(), "eu", ["a", "b"])

    def test_a_node_of_another_region_in_the_place_of_one_in_a_geo(self) -> None:
        with pytest.raises(TopologyRefused, match=r"region f is none of its; .* or add f0"):
            change.replace_node(_cluster(), "a0", _node("f0", "f"))
        assert change.replace_node(_cluster(2), "a0", _node("a9", "a")).node_by_name["a9"]

    @pytest.mark.parametrize(
        ("name", "regions", "says"),
        [
            ("us", ["a", "b", "c"], "no geo 'us'; there are eu, asia"),
            ("eu", ["a", "b", "z"], "no node in region 'z'"),
            ("eu", ["c", "a", "b"], "already"),
            ("eu", [], "name some"),
            ("eu", ["a", "a", "b"], "each once"),
        ],
    )
    def test_regions_that_a_geo_cannot_be_in(
        self, name: str, regions: list[str], says: str
    ) -> None:
        with pytest.raises(TopologyRefused, match=says):
            change.with_geo_regions(_cluster(), name, regions)


def test_a_geo_moves_to_other_regions_and_back() -> None:
    topology = _cluster()
    wider = change.with_geo_regions(topology, "eu", ["a", "b", "c", "d"])
    assert {wider.region_of[n] for g in wider.groups_in("eu") for n in g.replicas} == {*"abcd"}
    assert wider.groups_in("asia") == topology.groups_in("asia")
    assert any("geo eu: " in line for line in change.differences(topology, wider))
    back = change.with_geo_regions(wider, "eu", ["a", "b", "c"])
    assert all(map(same_members, back.groups, topology.groups))


class TestLeaders:
    ROUND_TRIPS = RoundTrips(
        50.0, {frozenset("ab"): 5.0, frozenset("bc"): 6.0, frozenset("ac"): 9.0}
    )

    def test_of_a_geo_only_its_own_regions_call(self) -> None:
        """a to c are near each other, d and e far from all: b is best for eu."""
        led = placed(_cluster(), self.ROUND_TRIPS)
        assert {led.region_of[group.preferred] for group in led.groups_in("eu")} == {"b"}
        assert callers_in(led, EU) == [*"abc"] and callers_in(led, EVERYWHERE) == [*"abcde"]
        weighed = planned_leaders(led, self.ROUND_TRIPS, {"d": 1_000.0})
        assert {weighed[group.number] for group in led.groups_in("eu")} == {"b0"}

    def test_a_region_that_is_to_lead_leads_what_it_holds(self) -> None:
        leaders = planned_leaders(_cluster(), self.ROUND_TRIPS, None, {"eu": "c", "": "d"})
        topology = _cluster()
        for group, leader in zip(topology.groups, leaders, strict=True):
            if group.geo == "eu":
                assert leader == "c0"
            elif not group.geo and "d0" in group.replicas:
                assert leader == "d0"
