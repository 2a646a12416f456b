"""Placement: every slot in one group, a group's replicas in as many regions, hashes for ever."""

from collections import Counter

import pytest

from globaltable.errors import ConfigError
from globaltable.model import qualified_name
from globaltable.topology import (
    SLOTS_DEFAULT,
    Group,
    Node,
    Topology,
    one_node_each,
    slot_of,
    spread,
)

REGIONS = ("a", "b", "c", "d", "e")
NODES = tuple(Node(name, name) for name in REGIONS)


@pytest.mark.parametrize(
    ("table", "key", "crc32"),
    [
        ("im.session", "cid:1", 0xFCA8697B),
        ("im.session", "cid:2", 0x65A138C1),
        ("t", "語", 0x2EDEDA2A),
        ("t", "a\0b", 0x20D91071),
    ],
)
def test_a_slot_is_part_of_the_stored_format(table: str, key: str, crc32: int) -> None:
    """Were the hash to change, stored bindings would not be found again."""
    assert slot_of(qualified_name(table, key), 2**32) == crc32
    assert slot_of(qualified_name(table, key), SLOTS_DEFAULT) == crc32 % 4096


def test_the_hash_is_the_crc_of_the_standards() -> None:
    """The check value that every catalogue of CRCs gives for CRC-32/ISO-HDLC."""
    assert slot_of(b"123456789", 2**32) == 0xCBF43926


@pytest.mark.parametrize("groups", [1, 2, 3, 7, 64, SLOTS_DEFAULT])
def test_every_slot_is_in_exactly_one_group(groups: int) -> None:
    topology = spread("test", one_node_each(REGIONS[:3]), groups, 3)
    owned = [slot for group in topology.groups for slot in topology.slots_of_group(group.number)]
    assert sorted(owned) == list(range(SLOTS_DEFAULT))
    for group in topology.groups:
        slots = topology.slots_of_group(group.number)
        assert {topology.group_of_slot(slot) for slot in slots} == {group.number}
        assert abs(len(slots) - SLOTS_DEFAULT / groups) < 1


def test_a_name_is_owned_by_the_group_of_its_slot() -> None:
    topology = spread("test", one_node_each(REGIONS[:3]), 7, 3)
    for number in range(200):
        name = qualified_name("t", str(number))
        assert slot_of(name, topology.slots) in topology.slots_of_group(topology.group_of(name))


@pytest.mark.parametrize(("regions", "replicas"), [(3, 3), (4, 3), (5, 3), (5, 5)])
def test_a_group_is_in_each_region_once_and_leadership_goes_round(
    regions: int, replicas: int
) -> None:
    topology = spread("test", one_node_each(REGIONS[:regions]), 2 * regions, replicas)
    for group in topology.groups:
        in_regions = {topology.node_by_name[name].region for name in group.replicas}
        assert len(in_regions) == len(group.replicas) == replicas
    preferred = [group.preferred for group in topology.groups]
    assert {name: preferred.count(name) for name in REGIONS[:regions]} == dict.fromkeys(
        REGIONS[:regions], 2
    )


@pytest.mark.parametrize("replicas", [-1, 0, 1, 2, 4, 6])
def test_replicas_that_are_no_three_or_five_are_refused(replicas: int) -> None:
    with pytest.raises(ConfigError, match=f"replicas = {replicas}"):
        spread("test", one_node_each(REGIONS), 1, replicas)


def test_more_replicas_than_regions_are_refused() -> None:
    with pytest.raises(ConfigError, match="only 3 regions"):
        spread("test", one_node_each(REGIONS[:3]), 1, 5)


@pytest.mark.parametrize("groups", [-1, 0, 17])
def test_groups_that_the_slots_cannot_be_dealt_to_are_refused(groups: int) -> None:
    with pytest.raises(ConfigError, match="16 slots"):
        spread("test", one_node_each(REGIONS), groups, 3, slots=16)


@pytest.mark.parametrize("per_region", [1, 2, 4])
@pytest.mark.parametrize(("regions", "replicas"), [(3, 3), (5, 3), (5, 5)])
def test_nodes_of_a_region_hold_and_lead_equally_many_groups(
    regions: int, replicas: int, per_region: int
) -> None:
    nodes = [Node(f"{name}{n}", name) for name in REGIONS[:regions] for n in range(per_region)]
    topology = spread("test", nodes, 2 * len(nodes), replicas)
    held = Counter(name for group in topology.groups for name in group.replicas)
    led = Counter(group.preferred for group in topology.groups)
    assert held == {node.name: 2 * replicas for node in nodes}
    assert led == {node.name: 2 for node in nodes}


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="not unique"):
        spread("test", one_node_each("abcc"), 1, 3)


def test_two_replicas_in_one_region_are_refused() -> None:
    nodes = (Node("a", "east"), Node("b", "east"), Node("c", "west"))
    with pytest.raises(ConfigError, match="two replicas in a region"):
        Topology("test", nodes, (Group(0, ("a", "b", "c")),))


class TestLeaders:
    def test_a_group_is_led_by_any_of_its_replicas_and_held_by_the_same(self) -> None:
        dealt = spread("test", one_node_each(REGIONS[:3]), 4, 3)
        led = dealt.led_by("bbca")
        assert [group.preferred for group in led.groups] == [*"bbca"]
        assert [set(group.replicas) for group in led.groups] == [{*"abc"}] * 4
        assert dealt.led_by([group.preferred for group in dealt.groups]) == dealt

    @pytest.mark.parametrize(
        ("leaders", "says"), [("bbc", "3 leaders for 4 groups"), ("bbcd", "group 3.*'d'")]
    )
    def test_leaders_that_cannot_be_are_refused(self, leaders: str, says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            spread("test", one_node_each(REGIONS[:3]), 4, 3).led_by(leaders)

    def test_a_plan_is_known_by_its_digest(self) -> None:
        dealt = spread("test", one_node_each(REGIONS[:3]), 4, 3)
        plans = [dealt.led_by(leaders) for leaders in ("bbca", "bbac", "abca", "bbbb")]
        assert len({plan.plan_digest for plan in plans}) == 4
        assert dealt.led_by("bbca").plan_digest == plans[0].plan_digest
