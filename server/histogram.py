"""A histogram of durations that costs a bisection and two additions, for the loop's own thread.

prometheus-client's takes two locks for each observation and walks its buckets; and what it has
counted can be had in its own text only, while `globaltable top` wants it from the Status call.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

DURATION_BOUNDS_S: Final = (
    *(0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.006, 0.008),
    *(0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.08),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Upper bounds of the buckets, in seconds; above the last there is one more. They are close where
round trips between regions are, and the target of 20 ms is one of them."""


class Histogram:
    """Seconds, counted by bucket."""

    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: Sequence[float] = DURATION_BOUNDS_S) -> None:
        assert list(bounds_s) == sorted(set(bounds_s)), bounds_s
        self.bounds_s = tuple(bounds_s)
        self.counts = [0] * (len(self.bounds_s) + 1)
        """Of each bucket by itself; the last is of what is above all bounds."""
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """A duration that is on a bound counts below it."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)
