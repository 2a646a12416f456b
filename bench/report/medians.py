"""Repeats put together: measurements of one system in one case, and the medians over them."""

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from globaltable.bench.histogram import Histogram
from globaltable.bench.results import Case, Measurement


@dataclass(frozen=True, slots=True)
class Repeats:
    """What was measured several times."""

    system: str
    case: Case
    measurements: tuple[Measurement, ...]

    def median(self, figure: str) -> float | None:
        """Over the repeats that have the figure; None if none has."""
        values = [one.figures[figure] for one in self.measurements if figure in one.figures]
        return statistics.median(values) if values else None

    def median_of(self, value: Callable[[Measurement], float]) -> float:
        return statistics.median(map(value, self.measurements))

    def total(self, figure: str) -> float:
        return sum(one.figures.get(figure, 0.0) for one in self.measurements)

    def histogram(self, what: str) -> Histogram:
        """All repeats together: for curves, where there is no median."""
        return Histogram.sum(
            one.latencies[what] for one in self.measurements if what in one.latencies
        )

    @property
    def what(self) -> list[str]:
        """What there are latencies of, in the order in which they were measured."""
        return list(dict.fromkeys(name for one in self.measurements for name in one.latencies))


def grouped(measurements: Iterable[Measurement], **case: str | float) -> Iterator[Repeats]:
    """By system and case, in the order in which each first came; only those that match `case`."""
    groups: dict[tuple[object, ...], list[Measurement]] = {}
    for one in measurements:
        if all(one.case.get(name) == value for name, value in case.items()):
            groups.setdefault((one.system, *sorted(one.case.items())), []).append(one)
    for several in groups.values():
        yield Repeats(several[0].system, several[0].case, tuple(several))


def paired_ratios(
    above: Repeats | None, below: Repeats | None, figure: str, below_figure: str | None = None
) -> list[float]:
    """Of each repeat that both have: what was measured close together is compared."""
    if above is None or below is None:
        return []
    other = below_figure or figure
    at = {one.repeat: one.figures.get(other) for one in below.measurements}
    ratios = []
    for one in above.measurements:
        value, divisor = one.figures.get(figure), at.get(one.repeat)
        if value is not None and divisor:
            ratios.append(value / divisor)
    return ratios
