"""Percentiles are those of what was recorded, to three digits, also after JSON and sums."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globaltable.bench.histogram import LATENCY_US_MAX, Histogram

DURATIONS_S = st.lists(st.floats(0.000_001, 500.0), min_size=1, max_size=300)
# A histogram has 20,000 counters, so an example takes a while.
few = settings(max_examples=25)
PERCENTILES = st.sampled_from([0.1, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0])


def exact_ms(durations_s: list[float], percentile: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(max(1, round(duration_s * 1e6)) for duration_s in durations_s)
    rank = max(1, math.ceil(round(len(ordered) * percentile / 100, 9)))
    return ordered[rank - 1] / 1_000


@few
@given(DURATIONS_S, PERCENTILES)
def test_a_percentile_is_the_exact_one_to_three_digits(
    durations_s: list[float], percentile: float
) -> None:
    histogram = Histogram.of(durations_s)
    assert histogram.count == len(durations_s)
    expected_ms = exact_ms(durations_s, percentile)
    assert histogram.percentile_ms(percentile) == pytest.approx(expected_ms, rel=0.001)


@few
@given(DURATIONS_S)
def test_it_comes_back_from_text(durations_s: list[float]) -> None:
    histogram = Histogram.of(durations_s)
    assert Histogram.decode(histogram.encode()) == histogram


@few
@given(DURATIONS_S, DURATIONS_S)
def test_a_sum_holds_what_each_holds(one: list[float], other: list[float]) -> None:
    together = Histogram.sum([Histogram.of(one), Histogram.of(other)])
    assert together == Histogram.of(one + other)


@few
@given(DURATIONS_S)
def test_its_steps_rise_to_the_whole(durations_s: list[float]) -> None:
    steps = list(Histogram.of(durations_s).steps())
    assert [step.value_ms for step in steps] == sorted({step.value_ms for step in steps})
    assert steps[-1].share == pytest.approx(1.0)


def test_what_is_beyond_the_range_counts_as_its_end() -> None:
    histogram = Histogram.of([0.0, 10 * LATENCY_US_MAX / 1e6])
    assert histogram.count == 2
    assert histogram.percentile_ms(50) == 0.001
    assert histogram.max_ms == pytest.approx(LATENCY_US_MAX / 1_000, rel=0.001)


def test_nothing_recorded_has_no_percentile() -> None:
    assert math.isnan(Histogram().percentile_ms(50))
    assert list(Histogram().steps()) == []
    assert Histogram.decode(Histogram().encode()).count == 0
