"""More groups, and slots dealt among them: little moves, and texts say the same again."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globaltable import slot_change
from globaltable import topology_change as change
from globaltable.deal import NOTHING, Deal
from globaltable.errors import ConfigError, InvalidArgument, ProtocolError
from globaltable.geo import Geo
from globaltable.limits import TOPOLOGY_BYTES_MAX
from globaltable.slot_deal import dealt_evenly
from globaltable.slot_ranges import format_slots, parse_slots
from globaltable.topology import Node, Topology, spread
from globaltable.topology_change import TopologyRefused
from globaltable.wire.topologies import decode_topology, encode_topology


def _cluster(regions: str = "abc", groups: int = 8, nodes: int = 1, slots: int = 4096) -> Topology:
    every = [Node(f"{r}{i}", r, f"{r}{i}:1", f"{r}{i}:2") for r in regions for i in range(nodes)]
    return spread("test", every, groups, 3, slots)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 3), st.sampled_from(["abc", "abcde"]))
@settings(max_examples=25)
def test_groups_that_are_added_are_spread_and_the_others_stay(
    groups: int, more: int, nodes: int, regions: str
) -> None:
    before = _cluster(regions, groups, nodes)
    after = slot_change.grow(before, groups + more)
    assert after.groups[:groups] == before.groups and after.version == 1
    assert [group.number for group in after.groups] == list(range(groups + more))
    for region in regions:
        assert _unevenness(after, region) <= max(1, _unevenness(before, region))
    for group in after.groups[groups:]:
        assert group.founders == group.replicas and group.since == 1
        assert after.deal_of(group.number) == NOTHING
    assert after.deal_of(0) == Deal(0, groups)
    assert decode_topology(encode_topology(after)) == after


def _unevenness(topology: Topology, region: str) -> int:
    """By how many replicas the nodes of a region differ."""
    names = [node.name for node in topology.nodes if node.region == region]
    held = [sum(name in group.replicas for group in topology.groups) for name in names]
    return max(held) - min(held)


def test_groups_that_are_added_are_led_where_the_others_are() -> None:
    even = slot_change.grow(_cluster(), 64)
    led = Counter(group.preferred for group in even.groups)
    assert max(led.values()) - min(led.values()) <= 3
    hub = change.lead(_cluster(), ["b0"] * 8)
    assert {group.preferred for group in slot_change.grow(hub, 64).groups} == {"b0"}


def test_a_learner_of_every_group_that_is_added_stands_in_a_region_that_only_reads() -> None:
    reading = change.add(_cluster(), Node("r0", "r", "r0:1", "r0:2", learner=True))
    grown = slot_change.grow(reading, 12)
    assert all(group.learners == ("r0",) for group in grown.groups)
    assert all("r0" not in group.founders for group in grown.groups)


owners = st.integers(1, 12).flatmap(
    lambda groups: st.tuples(
        st.just(groups), st.lists(st.integers(0, groups - 1), min_size=12, max_size=200)
    )
)


@given(owners, st.integers(0, 30))
@settings(max_examples=40)
def test_slots_are_dealt_evenly_and_no_more_move_than_must(
    present: tuple[int, list[int]], more: int
) -> None:
    groups, owner = present
    after = dealt_evenly(owner, groups + more)
    counts = Counter(dict.fromkeys(range(groups + more), 0))
    counts.update(after)
    assert max(counts.values()) - min(counts.values()) <= 1
    moved = sum(one != other for one, other in zip(owner, after, strict=True))
    share, over = divmod(len(owner), groups + more)
    held = sorted(Counter(owner).values(), reverse=True)
    # What is beyond each group's share; who holds most keeps one more, if there are more.
    must = sum(max(0, n - share - (at < over)) for at, n in enumerate(held))
    assert moved == must
    assert after == dealt_evenly(after, groups + more), "nothing moves once they are dealt"


def test_eight_groups_grow_to_sixty_four_with_a_short_text() -> None:
    after = slot_change.grow(_cluster(), 64)
    counts = Counter(after.assignment())
    assert set(counts.values()) == {64}
    assert sum(after.assignment()[s] != after.group_of_slot(s) for s in range(4096)) == 4096 - 512
    assert len(encode_topology(after)) < 16_000
    assert after.assignment()[0] == 0
    for number in range(64):
        assert {after.assignment()[slot] for slot in after.assigned_to(number)} == {number}


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_any_assignment_is_read_as_it_was_written(seed: int) -> None:
    before = _cluster()
    assigned = random.Random(seed).choices(range(8), k=4096)
    after = slot_change.move_slots(before, [1], 5)
    wild = Topology(
        "test", before.nodes, before.groups, version=3, assigned=(("", (0, *assigned[1:])),)
    )
    for topology in (after, wild):
        text = encode_topology(topology)
        assert decode_topology(text) == topology and len(text) < TOPOLOGY_BYTES_MAX


def test_slots_are_moved_to_a_group_and_back() -> None:
    before = _cluster()
    moved = slot_change.move_slots(before, [8, 16, 24], 5)
    assert [slot for slot in moved.assigned_to(5) if slot % 8 != 5] == [8, 16, 24]
    assert moved.group_of_slot(16) == 0, "until it has been moved"
    back = slot_change.move_slots(moved, [8, 16, 24], 0)
    assert all(back.assignment()[slot] == slot % 8 for slot in range(4096))
    assert slot_change.undo_slots(moved).assignment() == before.assignment()
    assert slot_change.undo_slots(slot_change.undo_slots(moved)).assignment() == moved.assignment()
    again = slot_change.deal_slots(moved)
    assert Counter(again.assignment()) == dict.fromkeys(range(8), 512)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda t: slot_change.grow(t, 8), "there are 8 already"),
        (lambda t: slot_change.grow(t, 3), "groups are only added"),
        (lambda t: slot_change.grow(t, 5_000), "no more groups than that"),
        (lambda t: slot_change.move_slots(t, [3], 8), "the groups are 0 to 7"),
        (lambda t: slot_change.move_slots(t, [0], 1), "stays in group 0"),
        (lambda t: slot_change.move_slots(t, [3], 3), "already"),
        (slot_change.deal_slots, "already"),
        (slot_change.undo_slots, "nothing is to undo"),
    ],
)
def test_what_cannot_be_is_refused_and_says_what_to_do(made: change.Change, says: str) -> None:
    with pytest.raises(TopologyRefused, match=says):
        made(_cluster())


def test_groups_are_added_only_when_nothing_is_on_its_way() -> None:
    before = _cluster()
    after = slot_change.grow(before, 9)
    with pytest.raises(TopologyRefused, match="groups 2, 7 are not yet"):
        change.require_settled(before, after, {7, 2})
    change.require_settled(before, after, ())
    # Slots move whatever the members do.
    change.require_settled(
        after, slot_change.deal_slots(slot_change.move_slots(after, [5], 1)), {8}
    )


def test_what_has_changed_is_told() -> None:
    told = change.differences(_cluster(), slot_change.grow(_cluster(), 64))
    assert "groups: 8 -> 64" in told
    assert "slots that are to be held by another group: 3584" in told


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        ([7], "7"),
        ([7, 8], "7-8"),
        ([7, 9], "7,9"),
        ([0, 8, 16, 24, 25, 26, 40], "0-24/8,25-26,40"),
        (list(range(4096)), "0-4095"),
    ],
)
def test_runs_of_slots_are_written_short(slots: list[int], text: str) -> None:
    assert format_slots(slots) == text and parse_slots(text, 4096) == slots


@given(st.sets(st.integers(0, 4095), min_size=1))
@settings(max_examples=40)
def test_any_slots_are_read_as_they_were_written(slots: set[int]) -> None:
    assert parse_slots(format_slots(sorted(slots)), 4096) == sorted(slots)


@pytest.mark.parametrize("text", ["", "x", "4096", "5-4", "1-9/0", "1,1", "1-5,3", "-1", "1-", "٣"])
def test_what_names_no_slots_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_slots(text, 4096)


_GROWN = encode_topology(slot_change.grow(_cluster(groups=2, slots=8), 3))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (_GROWN.replace('"format":2', '"format":3'), "reads 2: start the node with a newer one"),
        (_GROWN.replace('"0":"0', '"0":"1,0'), "twice|second time"),
        (_GROWN.replace('"2":', '"3":'), "assigned to group 3, which is not of it"),
        (_GROWN.replace('"0":"0', '"1":"0'), "no group|twice|stays in group 0"),
        (_GROWN.replace('"since":1', '"since":0'), "founded"),
        (_GROWN.replace('"slots":8', '"slots":9'), "no group"),
        (_GROWN.replace('"number":0,', '"number":0,"since":1,"founders":["a0"],'), "first numbers"),
    ],
)
def test_what_is_no_topology_of_groups_that_were_added_is_refused(bad: str, says: str) -> None:
    assert bad != _GROWN
    with pytest.raises(ProtocolError, match=says):
        decode_topology(bad)


def test_a_geo_grows_by_itself_and_within_its_regions() -> None:
    nodes = [Node(r, r, f"{r}:1", f"{r}:2") for r in "abcdef"]
    eu = Geo("eu", ("d", "e", "f"), ("eu.*",))
    before = spread("test", nodes, 4, 3, 64, geos=[(eu, 2)])
    after = slot_change.grow(before, 3, geo="eu")
    assert after.groups[:6] == before.groups and len(after.groups) == 7
    new = after.groups[6]
    assert new.geo == "eu" and {*new.replicas} == {"d", "e", "f"}
    assert after.deal_of(6) == NOTHING and after.deal_of(5) == Deal(1, 2)
    assert Counter(after.assignment("eu")) == {4: 22, 5: 21, 6: 21}
    assert after.assignment() == before.assignment()
    assert decode_topology(encode_topology(after)) == after
    moved = slot_change.move_slots(after, [0], 6)
    assert moved.assignment("eu")[0] == 6 and moved.assignment()[0] == 0
    assert slot_change.assigned_anew(moved) == [("eu", 0)]
    assert slot_change.undo_slots(moved).assigned == after.assigned
    more = slot_change.grow(moved, 5)
    assert more.groups[7].geo == "" and set(more.assignment()) == {0, 1, 2, 3, 7}
    with pytest.raises(TopologyRefused, match="no geo 'us'; there are eu"):
        slot_change.grow(before, 9, geo="us")
    with pytest.raises(ConfigError, match="which is not of it"):
        replace(after, assigned=(("eu", (0,) * 64),))
