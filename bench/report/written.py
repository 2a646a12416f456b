"""How figures are written in a report. One that could not be had is a dash, never a zero."""

import statistics
from collections.abc import Sequence
from typing import Final

NONE: Final = "–"


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> str:
    """Of single repeats, from the least to the greatest."""
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else NONE


def ms(value: float | None) -> str:
    return NONE if value is None or value != value else f"{value:.1f} ms"


def seconds(value: float | None) -> str:
    return NONE if value is None or value != value else f"{value:.2f} s"


def long_seconds(value: float | None) -> str:
    """Of what takes so long that hundredths say nothing."""
    return NONE if value is None else f"{value:.1f} s"


def rate(value: float | None) -> str:
    return NONE if value is None or value != value else f"{value:,.0f}"


def times(value: float | None) -> str:
    return NONE if value is None or value != value else f"{value:.2f} ×"


def share(value: float | None) -> str:
    return NONE if value is None or value != value else f"{100 * value:.0f} %"


def megabytes(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} MB"
