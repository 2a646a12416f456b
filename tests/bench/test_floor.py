"""The least a commit costs, against paths counted by hand."""

import itertools

import pytest

from globaltable.bench import floor

THREE = {"ab": 5.0, "ac": 25.0, "bc": 28.0}


def round_trip_ms(a: str, b: str) -> float:
    return 0.0 if a == b else THREE["".join(sorted((a, b)))]


@pytest.mark.parametrize(
    ("region", "leader", "floor_ms"),
    [("a", "a", 5.0), ("b", "b", 5.0), ("c", "c", 25.0), ("c", "a", 25.0), ("c", "b", 28.0)],
)
def test_of_three_one_round_trip_to_the_leader_or_its_nearest(
    region: str, leader: str, floor_ms: float
) -> None:
    assert floor.floor_ms(region, leader, "abc", round_trip_ms) == floor_ms


def test_no_leader_makes_it_less_than_the_nearest_majority() -> None:
    for region, nearest_ms in (("a", 5.0), ("b", 5.0), ("c", 25.0)):
        least_ms = floor.nearest_majority_ms(region, "abc", round_trip_ms)
        assert least_ms == nearest_ms
        assert least_ms == min(floor.floor_ms(region, led, "abc", round_trip_ms) for led in "abc")


def test_of_five_the_second_nearest_region_makes_a_majority() -> None:
    places = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 7.0, "e": 20.0}

    def apart_ms(a: str, b: str) -> float:
        return abs(places[a] - places[b])

    nearest = {one: floor.nearest_majority_ms(one, "abcde", apart_ms) for one in "abcde"}
    assert nearest == {"a": 3.0, "b": 2.0, "c": 3.0, "d": 6.0, "e": 17.0}


def test_of_five_alike_a_follower_waits_three_one_way_delays() -> None:
    """Follower, leader, third, follower (the `held` rule); the leader one round trip."""
    alike = lambda a, b: 0.0 if a == b else 10.0  # noqa: E731
    for region, leader in itertools.permutations("abcde", 2):
        assert floor.floor_ms(region, leader, "abcde", alike) == 15.0
    assert floor.floor_ms("a", "a", "abcde", alike) == 10.0


def test_of_five_the_nearest_third_counts() -> None:
    """d and e are far from all; b asks leader a, and hears of c: (4 + 6 + 8) / 2."""
    near = {"ab": 4.0, "ac": 6.0, "bc": 8.0}

    def distance_ms(a: str, b: str) -> float:
        return near.get("".join(sorted((a, b))), 100.0)

    assert floor.floor_ms("b", "a", "abcde", distance_ms) == 9.0
    # The leader needs two others: the second nearest is c.
    assert floor.floor_ms("a", "a", "abcde", distance_ms) == 6.0


def test_each_group_weighs_the_same() -> None:
    leaders = {0: "a", 1: "a", 2: "b", 3: "c"}
    floors = floor.floors_ms("c", leaders, "abc", round_trip_ms)
    assert floors == [25.0, 25.0, 25.0, 28.0]
    assert floor.share_ms(floors, 0.5) == 25.0
    assert floor.share_ms(floors, 0.99) == 28.0
