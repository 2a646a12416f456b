"""A write costs what `commit_latency_s` says, from every voter, to the last microsecond.

Simulated time passes on links and, where a test says so, in syncs, and nowhere else.
"""

import itertools
import random
from collections.abc import Callable
from typing import Final

import pytest

from globaltable.raft.commit_latency import commit_latency_s
from globaltable.raft.messages import Ack, Append, Held, Matched
from tests.raft.timed_group import HEARTBEAT_S, TimedGroup

Pairs = dict[tuple[str, str], float]
SYNC_S: Final = 0.003


def _on_a_plane(voters: str, seed: int) -> Pairs:
    """Round trips that obey the triangle inequality, as along straight fibres."""
    rng = random.Random(f"plane {seed}")
    places = {name: complex(rng.uniform(0, 0.1), rng.uniform(0, 0.1)) for name in voters}
    return {(a, b): abs(places[a] - places[b]) for a, b in itertools.combinations(voters, 2)}


def _at_random(voters: str, seed: int) -> Pairs:
    """Round trips that need not: detours may be shorter, or much longer."""
    rng = random.Random(f"random {seed}")
    return {pair: rng.uniform(0.002, 0.2) for pair in itertools.combinations(voters, 2)}


def _ways(round_trip_s: Pairs) -> Pairs:
    """Each way takes half the round trip."""
    half = {pair: value / 2 for pair, value in round_trip_s.items()}
    return half | {(b, a): value for (a, b), value in half.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", [_on_a_plane, _at_random])
@pytest.mark.parametrize("voters", ["abc", "abcde"])
def test_a_bind_from_any_voter_under_any_leader(
    voters: str, draw: Callable[[str, int], Pairs], seed: int
) -> None:
    round_trip_s = draw(voters, seed)
    for leader in voters:
        group = TimedGroup(voters, _ways(round_trip_s), leader=leader)
        for entry in voters:
            expected_s = commit_latency_s(round_trip_s, voters, leader, entry)
            assert group.bind_s(entry) == pytest.approx(expected_s, abs=1e-6), (leader, entry)


@pytest.mark.parametrize("voters", ["abc", "abcde"])
def test_one_sync_is_in_the_chain_and_no_second(voters: str) -> None:
    """The leader's own runs beside its appends' way; of followers, who answers waits for its own,
    while what another tells it has waited for that one's."""
    round_trip_s = dict.fromkeys(itertools.combinations(voters, 2), 0.020)
    group = TimedGroup(voters, _ways(round_trip_s), leader="a", sync_s=SYNC_S)
    for entry in voters:
        expected_s = commit_latency_s(round_trip_s, voters, "a", entry) + SYNC_S
        assert group.bind_s(entry) == pytest.approx(expected_s, abs=1e-6), entry


FAR: Final = dict.fromkeys(itertools.combinations("abcde", 2), 0.200)
UNEQUAL: Final[Pairs] = FAR | {
    ("a", "b"): 0.020,
    ("a", "c"): 0.010,
    ("b", "c"): 0.024,
    ("a", "d"): 0.030,
    ("b", "d"): 0.014,
}
"""From b with the leader a: over c 10 + 5 + 12 = 27 ms, over d 10 + 15 + 7 = 32, over e 210."""


class TestWithTheThirdReplicasLinkDown:
    def test_the_next_best_is_the_third(self) -> None:
        group = TimedGroup("abcde", _ways(UNEQUAL), leader="a")
        assert group.bind_s("b") == pytest.approx(0.027, abs=1e-6)
        group.cut("b", "c")
        assert group.bind_s("b") == pytest.approx(0.032, abs=1e-6)

    def test_without_any_it_is_told_by_the_leader(self) -> None:
        """The leader commits once b and c have answered, 20 ms after it has the write: it is told
        at once, and not by the next heartbeat."""
        group = TimedGroup("abcde", _ways(UNEQUAL), leader="a")
        for third in "cde":
            group.cut("b", third)
        assert group.bind_s("b") == pytest.approx(0.010 + 0.020 + 0.010, abs=1e-6)
        assert HEARTBEAT_S > 0.040

    def test_with_two_replicas_lost_a_majority_goes_on(self) -> None:
        group = TimedGroup("abcde", _ways(UNEQUAL), leader="a")
        for lost, other in itertools.product("cd", "abe"):
            group.cut(lost, other)
        assert group.bind_s("b") == pytest.approx(0.010 + 0.100 + 0.100, abs=1e-6)


class TestWhatIsSent:
    def test_for_a_bind_with_three_voters_nothing_among_followers(self) -> None:
        round_trip_s = dict.fromkeys(itertools.combinations("abc", 2), 0.010)
        group = TimedGroup("abc", _ways(round_trip_s), leader="a")
        group.run(HEARTBEAT_S / 4)
        group.sent.clear()
        group.bind_s("b")
        with_entries = [m for _, _, m in group.sent if isinstance(m, Append) and m.entries]
        assert len(with_entries) == 2
        assert sum(isinstance(message, Held) for _, _, message in group.sent) == 2
        assert not any({sender, to} == {"b", "c"} for sender, to, _ in group.sent)

    def test_for_a_bind_with_five_voters_one_word_on_each_way_among_followers(self) -> None:
        round_trip_s = dict.fromkeys(itertools.combinations("abcde", 2), 0.010)
        group = TimedGroup("abcde", _ways(round_trip_s), leader="a")
        group.sent.clear()
        group.bind_s("b")
        words = [(sender, to) for sender, to, m in group.sent if isinstance(m, Matched)]
        assert sorted(words) == sorted(itertools.permutations("bcde", 2))

    def test_idle_nothing_but_heartbeats_and_their_answers(self) -> None:
        round_trip_s = dict.fromkeys(itertools.combinations("abcde", 2), 0.010)
        group = TimedGroup("abcde", _ways(round_trip_s), leader="a")
        group.sent.clear()
        group.run(10 * HEARTBEAT_S)
        assert {type(message) for _, _, message in group.sent} == {Append, Ack}
        assert len(group.sent) <= 11 * 2 * 4
