"""A round trip is what its way takes, and not how busy its ends were."""

import random

import pytest

from globaltable.server.round_trip import WINDOW, RoundTrip


def _measured(*seconds: float) -> RoundTrip:
    round_trip = RoundTrip()
    for one in seconds:
        round_trip.took(one)
    return round_trip


def test_nothing_is_known_before_one_has_come_back() -> None:
    assert (_measured().smooth_s, _measured().samples) == (0.0, 0)
    assert (_measured(0.03).smooth_s, _measured(0.03).samples) == (0.03, 1)


def test_what_is_busy_now_and_then_is_not_far() -> None:
    busy = random.Random(7)
    took = [0.02 + (busy.expovariate(50) if busy.random() < 0.4 else 0.0) for _ in range(300)]
    assert sum(took) / len(took) > 0.025
    assert _measured(0.08, *took).smooth_s == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("later_s", [0.01, 0.08])
def test_a_way_that_changes_is_soon_another(later_s: float) -> None:
    before = [0.04] * 100
    assert _measured(*before, later_s).smooth_s != pytest.approx(later_s, rel=0.2)
    after = [later_s] * (WINDOW + 25)
    assert _measured(*before, *after).smooth_s == pytest.approx(later_s, rel=0.02)
