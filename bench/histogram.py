"""Latencies as an HDR histogram: microseconds to three significant digits, up to ten minutes.

Responsible for recording, adding up, percentiles and the text form in results files.

Invariants: a percentile is the smallest recorded value that at least this share of all does not
exceed, to 0.1 %; what is beyond the range counts as its end, so nothing recorded is ever dropped.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Self

from hdrh.histogram import HdrHistogram

LATENCY_US_MAX: Final = 600_000_000
SIGNIFICANT_DIGITS: Final = 3


class Step(NamedTuple):
    """One step of a cumulative distribution."""

    value_ms: float
    share: float
    """Of all values, how many are not above it: 0 to 1."""


class Histogram:
    """How often each latency was seen."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = HdrHistogram(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)

    @classmethod
    def of(cls, durations_s: Iterable[float]) -> Self:
        """Of durations in seconds."""
        histogram = cls()
        for duration_s in durations_s:
            histogram.record(duration_s)
        return histogram

    @classmethod
    def sum(cls, histograms: Iterable["Histogram"]) -> Self:
        """All that was recorded in any of them."""
        total = cls()
        for histogram in histograms:
            total._counts.add(histogram._counts)
        return total

    @classmethod
    def decode(cls, text: str) -> Self:
        """Back from `encode`. Raises what hdrhistogram raises if it is nothing of the kind."""
        histogram = cls()
        decoded = HdrHistogram.decode(text.encode("ascii"))
        histogram._counts.add(decoded)
        return histogram

    def encode(self) -> str:
        """The compressed form every HDR histogram library reads (V2, base64)."""
        return str(self._counts.encode().decode("ascii"))

    def record(self, duration_s: float) -> None:
        us = round(duration_s * 1_000_000)
        self._counts.record_value(min(max(us, 1), LATENCY_US_MAX))

    @property
    def count(self) -> int:
        return int(self._counts.get_total_count())

    def percentile_ms(self, percentile: float) -> float:
        """In milliseconds; `nan` if nothing was recorded."""
        count = self.count
        if not count:
            return math.nan
        # The library rounds to the nearest rank. Binary fractions are rounded first: 99.9 % of
        # 1,000 is rank 999.
        rank = max(1, math.ceil(round(count * percentile / 100, 9)))
        value_us = self._counts.get_value_at_percentile(100 * rank / count)
        return float(value_us) / 1_000

    @property
    def max_ms(self) -> float:
        return self.percentile_ms(100.0)

    def steps(self) -> Iterator[Step]:
        """The cumulative distribution, ascending."""
        total = self.count
        for item in self._counts.get_recorded_iterator():
            value_us = item.value_iterated_to
            yield Step(value_us / 1_000, item.total_count_to_this_value / total)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Histogram(count={self.count}, p50_ms={self.percentile_ms(50):g},"
            f" p99_ms={self.percentile_ms(99):g}, max_ms={self.max_ms:g})"
        )
