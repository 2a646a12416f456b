"""Leaders stand where commits cost least; what a commit costs is what messages take to travel."""

import itertools
import math
from collections.abc import Mapping
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.placement import (
    RoundTrips,
    cheapest_groups,
    costs_s,
    placed,
    planned_leaders,
)
from globaltable.topology import Topology, one_node_each, spread

REGIONS = ("a", "b", "c", "d", "e")
UNEQUAL = RoundTrips(0.0, {frozenset("ab"): 5.0, frozenset("bc"): 25.0, frozenset("ac"): 28.0})


def _topology(regions: int = 3, groups: int = 8) -> Topology:
    return spread("test", one_node_each(REGIONS[:regions]), groups, regions)


def _pairs(regions: int) -> st.SearchStrategy[dict[frozenset[str], float]]:
    pairs = [frozenset(pair) for pair in itertools.combinations(REGIONS[:regions], 2)]
    return st.fixed_dictionaries(dict.fromkeys(pairs, st.floats(0.1, 300.0)))


def _told_by_messages(
    origin: str, leader: str, voters: tuple[str, ...], round_trips: RoundTrips
) -> float:
    """The moment at which `origin` knows of a majority, from every message's own arrival.

    A follower counts the leader, itself and whoever has told it (`held`), or takes the leader's
    word; the leader counts itself and those whose acknowledgement has come.
    """

    def way_s(a: str, b: str) -> float:
        return round_trips.between_s(a, b) / 2

    majority = len(voters) // 2 + 1
    begun_s = way_s(origin, leader)
    holds_s = {voter: begun_s + way_s(leader, voter) for voter in voters}
    acknowledged = sorted(holds_s[v] + way_s(v, leader) for v in voters if v != leader)
    leader_knows_s = acknowledged[majority - 2]
    if origin == leader:
        return leader_knows_s
    moments = [
        max(holds_s[origin], *(holds_s[v] + way_s(v, origin) for v in among), 0.0)
        for among in itertools.combinations(set(voters) - {origin, leader}, majority - 2)
    ]
    return min(*moments, leader_knows_s + way_s(leader, origin), math.inf)


class TestCommitLatency:
    @given(st.sampled_from([3, 5]), st.data())
    def test_it_is_when_the_messages_have_come(self, regions: int, data: st.DataObject) -> None:
        round_trips = RoundTrips(0.0, data.draw(_pairs(regions)))
        voters = REGIONS[:regions]
        for leader in voters:
            costs = costs_s(voters, leader, round_trips.between_s)
            for origin in voters:
                expected = _told_by_messages(origin, leader, voters, round_trips)
                assert costs[origin] == pytest.approx(expected)

    def test_of_three_a_follower_pays_one_round_trip_and_a_leader_the_shortest(self) -> None:
        led_by_b = costs_s("abc", "b", UNEQUAL.between_s)
        led_by_c = costs_s("abc", "c", UNEQUAL.between_s)
        assert led_by_b == pytest.approx({"a": 0.005, "b": 0.005, "c": 0.025})
        assert led_by_c == pytest.approx({"a": 0.028, "b": 0.025, "c": 0.025})

    def test_of_five_a_follower_pays_three_ways(self) -> None:
        costs = costs_s(REGIONS, "b", RoundTrips(20.0).between_s)
        assert costs == pytest.approx({"a": 0.03, "b": 0.02, "c": 0.03, "d": 0.03, "e": 0.03})


class TestPlan:
    @pytest.mark.parametrize(("regions", "replicas"), [(3, 3), (4, 3), (5, 3), (5, 5)])
    @pytest.mark.parametrize("round_trip_ms", [0.0, 0.3, 10.0])
    @pytest.mark.parametrize("groups", [1, 8, 30])
    def test_equal_round_trips_leave_leaders_dealt_out_in_turn(
        self, regions: int, replicas: int, round_trip_ms: float, groups: int
    ) -> None:
        dealt = spread("test", one_node_each(REGIONS[:regions]), groups, replicas)
        assert placed(dealt, RoundTrips(round_trip_ms)) == dealt

    def test_unequal_ones_put_every_leader_where_both_short_links_end(self) -> None:
        assert planned_leaders(_topology(), UNEQUAL) == ("b",) * 8

    @given(_pairs(3))
    def test_of_three_every_region_has_a_group_as_near_as_its_nearest_neighbour(
        self, pairs: Mapping[frozenset[str], float]
    ) -> None:
        """The floor for whatever survives the loss of a region: what `create` costs."""
        round_trips = RoundTrips(0.0, pairs)
        leaders = planned_leaders(_topology(), round_trips)
        for origin in "abc":
            nearest_s = min(round_trips.between_s(origin, other) for other in {*"abc"} - {origin})
            least_s = min(
                costs_s("abc", leader, round_trips.between_s)[origin] for leader in leaders
            )
            assert least_s == pytest.approx(nearest_s)

    @given(st.sampled_from([3, 5]), st.data())
    def test_no_other_leader_would_make_the_mean_much_less(
        self, regions: int, data: st.DataObject
    ) -> None:
        round_trips = RoundTrips(0.0, data.draw(_pairs(regions)))
        voters = REGIONS[:regions]
        shares = st.floats(0.0, 10.0)
        weights = data.draw(st.fixed_dictionaries(dict.fromkeys(voters, shares)))
        if not any(weights.values()):
            weights = dict.fromkeys(voters, 1.0)

        def mean_s(leader: str) -> float:
            costs = costs_s(voters, leader, round_trips.between_s)
            return sum(weights[v] * costs[v] for v in voters) / sum(weights.values())

        least_s = min(map(mean_s, voters))
        for leader in planned_leaders(_topology(regions), round_trips, weights):
            assert mean_s(leader) <= least_s * 1.0501 + 0.000251

    def test_near_ties_share_the_leaders_evenly(self) -> None:
        """a and b are as good as each other but for a hair; c is far from both."""
        near = {frozenset("ab"): 5.0, frozenset("bc"): 25.0, frozenset("ac"): 25.5}
        leaders = planned_leaders(_topology(), RoundTrips(0.0, near))
        assert sorted(leaders) == ["a"] * 4 + ["b"] * 4

    def test_shares_of_the_writes_draw_the_leaders(self) -> None:
        equal = RoundTrips(0.0, {frozenset("ab"): 20.0, frozenset("bc"): 30.0, frozenset("ac"): 9})
        assert set(planned_leaders(_topology(), equal)) == {"a"}
        assert set(planned_leaders(_topology(), equal, {"a": 0, "b": 1, "c": 0})) == {"a", "b"}

    @given(_pairs(5), st.randoms())
    def test_it_depends_on_no_order_but_the_regions(
        self, pairs: dict[frozenset[str], float], random: object
    ) -> None:
        shuffled = list(pairs.items())
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        plans = {
            planned_leaders(_topology(5), RoundTrips(0.0, given))
            for given in (pairs, dict(shuffled), dict(reversed(pairs.items())))
        }
        assert len(plans) == 1


class TestCheapest:
    TOPOLOGY = _topology(groups=6)
    DEALT: ClassVar = dict(enumerate("abcabc"))

    @pytest.mark.parametrize(
        ("origin", "groups", "floor_ms"),
        [("a", (0, 1, 3, 4), 5.0), ("b", (0, 1, 3, 4), 5.0), ("c", (1, 2, 4, 5), 25.0)],
    )
    def test_they_are_led_here_or_by_the_nearest_neighbour(
        self, origin: str, groups: tuple[int, ...], floor_ms: float
    ) -> None:
        found = cheapest_groups(origin, self.TOPOLOGY, self.DEALT, UNEQUAL.between_s)
        assert found.groups == groups
        assert found.expected_s == pytest.approx(floor_ms / 1_000)

    def test_groups_without_a_leader_or_a_way_to_it_are_none_of_them(self) -> None:
        def without_b(x: str, y: str) -> float:
            return math.inf if "b" in (x, y) else UNEQUAL.between_s(x, y)

        found = cheapest_groups("a", self.TOPOLOGY, {1: "b", 2: "c", 3: "a"}, without_b)
        assert found.groups == (2, 3)
        assert found.expected_s == pytest.approx(0.028)

    def test_nothing_known_is_nothing_said(self) -> None:
        assert cheapest_groups("a", self.TOPOLOGY, {}, UNEQUAL.between_s) == ((), 0.0)
        far = cheapest_groups("a", self.TOPOLOGY, self.DEALT, lambda x, y: math.inf)
        assert far == ((), 0.0)
