"""A histogram counts what Prometheus would: a bucket holds what is at or below its bound."""

import pytest

from globaltable.server.histogram import DURATION_BOUNDS_S, Histogram


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        (0.0, [1, 0, 0]),
        (0.1, [1, 0, 0]),
        (0.100_001, [0, 1, 0]),
        (0.2, [0, 1, 0]),
        (9.0, [0, 0, 1]),
    ],
)
def test_a_duration_is_in_the_bucket_of_the_least_bound_that_is_not_below_it(
    seconds: float, counts: list[int]
) -> None:
    histogram = Histogram((0.1, 0.2))
    histogram.observe(seconds)
    assert histogram.counts == counts
    assert histogram.sum_s == seconds


def test_the_target_is_a_bound_so_that_its_share_can_be_read_off() -> None:
    assert 0.02 in DURATION_BOUNDS_S
