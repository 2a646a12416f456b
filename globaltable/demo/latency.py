"""Durations, summed up: exact percentiles of all that were measured."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Latency(NamedTuple):
    """Milliseconds."""

    samples: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The smallest value that at least this fraction of all values does not exceed."""
    assert ordered and 0 < fraction <= 1, (len(ordered), fraction)
    # Rounded first: 0.999 * 1000 must be rank 999, whatever the binary fraction makes of it.
    rank = -int(-round(len(ordered) * fraction, 9) // 1)
    return ordered[max(1, rank) - 1]


def summarize(durations_s: Iterable[float]) -> Latency:
    """Of at least one duration, in seconds."""
    ordered = sorted(durations_s)
    p50, p99, p999 = (percentile(ordered, fraction) * 1_000 for fraction in (0.5, 0.99, 0.999))
    return Latency(len(ordered), p50, p99, p999, ordered[-1] * 1_000)
