"""How far regions are from each other."""

import pytest

from globaltable.bench.round_trips import RoundTrips


def test_a_pair_has_its_own_or_the_default_and_a_region_none_to_itself() -> None:
    trips = RoundTrips(10.0, {frozenset("ab"): 25.0})
    assert [trips.between(*pair) for pair in ("ab", "ba", "ac", "aa")] == [25.0, 25.0, 10.0, 0.0]


@pytest.mark.parametrize(
    ("default_ms", "pairs", "said"),
    [
        (-1.0, {}, "-1.0 ms"),
        (float("nan"), {}, "nan ms"),
        (1.0, {frozenset("ab"): 1e9}, "60000"),
        (1.0, {frozenset("a"): 1.0}, "two regions"),
    ],
)
def test_what_is_no_round_trip_is_refused(
    default_ms: float, pairs: dict[frozenset[str], float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        RoundTrips(default_ms, pairs)


def test_a_pair_of_regions_that_are_not_there_is_refused() -> None:
    RoundTrips(1.0, {frozenset("ab"): 1.0}).check("abc")
    with pytest.raises(ValueError, match="'a', 'x'"):
        RoundTrips(1.0, {frozenset("ax"): 1.0}).check("abc")
