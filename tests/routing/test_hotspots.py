"""Hot spots: counts within the bounds of the paper, and moves that help."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import InvalidArgument
from globaltable.routing.hotspots import (
    Hot,
    MoveProposal,
    Placed,
    SpaceSaving,
    propose_moves,
)


def check(sketch: SpaceSaving[int], truth: dict[int, float], total: float, capacity: int) -> None:
    """Lemmas 2 to 4 and theorem 2, and what rounding adds when all is halved."""
    found = {hot.key: hot for hot in sketch.hottest(10**6)}
    assert len(found) <= capacity
    bound = total / capacity
    for key, hits in truth.items():
        hot = found.get(key)
        if hot is None:
            assert hits <= bound + 1
        else:
            assert hot.sure <= hits <= hot.hits
            assert 0 <= hot.error <= bound + 2


@given(stream=st.lists(st.integers(0, 12) | st.just(-1), max_size=300), capacity=st.integers(1, 8))
def test_counts_are_never_too_low_nor_too_high_by_more_than_the_bound(
    stream: list[int], capacity: int
) -> None:
    """-1 stands for ageing."""
    sketch: SpaceSaving[int] = SpaceSaving(capacity)
    truth: dict[int, float] = {}
    total = 0.0
    for key in stream:
        if key < 0:
            sketch.age()
            truth = {one: hits / 2 for one, hits in truth.items()}
            total /= 2
        else:
            sketch.hit(key)
            truth[key] = truth.get(key, 0) + 1
            total += 1
        check(sketch, truth, total, capacity)


def test_without_ageing_the_bound_is_the_papers() -> None:
    chance = random.Random(3)
    ranks = range(1, 2_001)
    stream = chance.choices(ranks, [rank**-1.2 for rank in ranks], k=20_000)
    sketch: SpaceSaving[int] = SpaceSaving(100)
    for key in stream:
        sketch.hit(key)
    truth = Counter(stream)
    found = {hot.key: hot for hot in sketch.hottest(100)}
    assert sum(hot.hits for hot in found.values()) == sketch.total == len(stream)
    for key, hits in truth.items():
        if hits > len(stream) / 100:
            assert key in found
        if key in found:
            assert found[key].sure <= hits <= found[key].hits
            assert found[key].error <= len(stream) / 100
    assert [hot.key for hot in sketch.hottest(5)] == [key for key, _ in truth.most_common(5)]


def test_a_key_that_was_hot_is_overtaken_when_it_has_gone_quiet() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(10)
    for _ in range(1_000):
        sketch.hit("yesterday")
    for _ in range(8):
        sketch.age()
        for _ in range(20):
            sketch.hit("today")
    assert sketch.hottest(1)[0].key == "today"
    assert sketch.hottest(2)[1] == Hot("yesterday", 4, 1)


@pytest.mark.parametrize(
    ("what", "hot", "load", "proposals"),
    [
        ("nobody is over", [Placed("k", "A", 10)], {"A": 80, "B": 0}, []),
        (
            "the hottest that fits goes to the least loaded",
            [Placed("a", "A", 15), Placed("b", "A", 40), Placed("c", "B", 5)],
            {"A": 90, "B": 30, "C": 20},
            [MoveProposal("b", "A", "C", 40)],
        ),
        (
            "as many as it takes",
            [Placed("a", "A", 10), Placed("b", "A", 11), Placed("c", "A", 5)],
            {"A": 100, "B": 30, "C": 35},
            [MoveProposal("b", "A", "B", 11), MoveProposal("a", "A", "C", 10)],
        ),
        ("it is too hot for any unit", [Placed("a", "A", 90)], {"A": 95, "B": 5, "C": 5}, []),
        ("all are full", [Placed("a", "A", 10)], {"A": 95, "B": 85, "C": 85}, []),
        ("its unit is not known", [Placed("a", "Z", 10)], {"A": 10}, []),
    ],
)
def test_moves_are_proposed_where_they_help(
    what: str, hot: list[Placed], load: dict[str, float], proposals: list[MoveProposal]
) -> None:
    capacity = {"A": 100.0, "B": 100.0, "C": 100.0}
    assert propose_moves(hot, load, capacity) == proposals, what


@given(
    keys=st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 60)), max_size=12),
    load=st.fixed_dictionaries({unit: st.floats(0, 150) for unit in "ABC"}),
)
def test_no_proposal_makes_a_unit_hot(
    keys: list[tuple[str, float]], load: dict[str, float]
) -> None:
    hot = [Placed(f"k{n}", unit, made) for n, (unit, made) in enumerate(keys)]
    capacity = {"A": 100.0, "B": 50.0, "C": 200.0}
    proposals = propose_moves(hot, load, capacity, moves_max=4)
    assert len(proposals) <= 4 and len({one.key for one in proposals}) == len(proposals)
    after = dict(load)
    for one in proposals:
        after[one.unit] -= one.load
        after[one.to] += one.load
    for unit, loaded in after.items():
        assert loaded <= max(load[unit], 0.8 * capacity[unit]) + 1e-9


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        SpaceSaving(0)
    with pytest.raises(InvalidArgument):
        propose_moves([], {}, {"A": 0})
    with pytest.raises(InvalidArgument):
        propose_moves([], {}, {"A": 1}, high=1.5)
