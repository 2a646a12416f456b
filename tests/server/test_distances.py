"""A node knows its own links, believes the file for others, and else reckons by a detour."""

import math

import pytest

from globaltable.placement import RoundTrips
from globaltable.server.distances import Distances

MEASURED_S = {"b": 0.006, "c": 0.030, "d": 0.0}
REGION_OF = {name: name for name in "abcde"}
CONFIGURED = RoundTrips(28.0, {frozenset("ab"): 5.0, frozenset("bc"): 25.0})


class _Links:
    def connected(self, peer: str) -> bool:
        return peer in MEASURED_S

    def round_trip_s(self, peer: str) -> float:
        return MEASURED_S.get(peer, 0.5)


@pytest.mark.parametrize(
    ("a", "b", "with_file_s", "without_s"),
    [
        ("a", "b", 0.006, 0.006),
        ("c", "a", 0.030, 0.030),
        ("b", "c", 0.025, 0.036),
        ("a", "d", 0.028, math.inf),
        ("a", "e", math.inf, math.inf),
        ("e", "b", 0.028, math.inf),
    ],
    ids=["measured", "the other way", "between two others", "not measured yet", "gone", "of it"],
)
def test_how_far_two_are_from_each_other(
    a: str, b: str, with_file_s: float, without_s: float
) -> None:
    assert Distances("a", REGION_OF, _Links(), CONFIGURED).round_trip_s(a, b) == pytest.approx(
        with_file_s
    )
    assert Distances("a", REGION_OF, _Links(), None).round_trip_s(a, b) == pytest.approx(without_s)
