"""The arithmetic of a commit over unequal ways. `test_word_of_followers` holds replicas to it."""

import itertools

import pytest

from globaltable.errors import ConfigError
from globaltable.raft.commit_latency import commit_latency_s

THREE = {("a", "b"): 0.005, ("a", "c"): 0.025, ("b", "c"): 0.028}


@pytest.mark.parametrize(
    ("leader", "entry", "expected_s"),
    [
        ("a", "a", 0.005),
        ("a", "b", 0.005),
        ("a", "c", 0.025),
        ("b", "b", 0.005),
        ("b", "a", 0.005),
        ("b", "c", 0.028),
        ("c", "c", 0.025),
        ("c", "a", 0.025),
        ("c", "b", 0.028),
    ],
)
def test_with_three_voters_it_is_one_round_trip_to_the_leader(
    leader: str, entry: str, expected_s: float
) -> None:
    assert commit_latency_s(THREE, "abc", leader, entry) == pytest.approx(expected_s)


def test_with_five_equal_ways_a_follower_waits_for_three_of_them() -> None:
    equal = dict.fromkeys(itertools.combinations("abcde", 2), 0.01)
    assert commit_latency_s(equal, "abcde", "a", "a") == pytest.approx(0.010)
    for entry in "bcde":
        assert commit_latency_s(equal, "abcde", "a", entry) == pytest.approx(0.015)


def test_with_five_the_third_replica_is_the_one_on_the_least_detour() -> None:
    far = dict.fromkeys(itertools.combinations("abcde", 2), 0.1)
    # From b over the leader a: c is near to a but far from b, d somewhat near to both.
    ways = far | {("a", "b"): 0.020, ("a", "c"): 0.010, ("a", "d"): 0.030, ("d", "b"): 0.024}
    assert commit_latency_s(ways, "abcde", "a", "b") == pytest.approx(0.010 + 0.015 + 0.012)
    assert commit_latency_s(ways, "abcde", "a", "a") == pytest.approx(0.020)


def test_a_third_replica_next_to_the_way_costs_nothing_more() -> None:
    far = dict.fromkeys(itertools.combinations("abcde", 2), 0.1)
    ways = far | {("a", "b"): 0.020, ("a", "c"): 0.004, ("b", "c"): 0.016}
    assert commit_latency_s(ways, "abcde", "a", "b") == pytest.approx(0.020)


def test_where_detours_are_long_the_leader_tells_earlier() -> None:
    """Ways over the internet need not obey the triangle inequality."""
    far = dict.fromkeys(itertools.combinations("abcde", 2), 0.5)
    ways = far | {("a", peer): 0.010 for peer in "bcde"}
    assert commit_latency_s(ways, "abcde", "a", "b") == pytest.approx(0.010 + 0.010)


def test_a_pair_may_be_given_in_either_order() -> None:
    turned = {(b, a): value for (a, b), value in THREE.items()}
    for leader, entry in itertools.product("abc", repeat=2):
        assert commit_latency_s(turned, "abc", leader, entry) == commit_latency_s(
            THREE, "abc", leader, entry
        )


def test_who_has_no_voter_and_what_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="'d' has no voter of the group"):
        commit_latency_s(THREE, "abc", "a", "d")
    with pytest.raises(ConfigError, match="'d' has no voter of the group"):
        commit_latency_s(THREE, "abc", "d", "a")
    with pytest.raises(ConfigError, match="between 'a' and 'd' is not given"):
        commit_latency_s(THREE, "abcd", "a", "a")
