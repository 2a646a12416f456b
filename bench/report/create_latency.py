"""What a report says of new sessions: what they cost from each region, and what they should.

Responsible for this scenario's section, and for the ratio that its goal is about: that of the two
stands in both.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from globaltable.bench.activities.mints import MINTED
from globaltable.bench.histogram import Histogram
from globaltable.bench.report.medians import Repeats, grouped, paired_ratios
from globaltable.bench.report.plots.latency_cdf import Curve, latency_cdf
from globaltable.bench.report.plots.svg import Plot
from globaltable.bench.report.section import Section, Table
from globaltable.bench.report.written import ms, rate, share, times
from globaltable.bench.results import Report
from globaltable.bench.scenarios import create_latency
from globaltable.bench.scenarios.create_latency import ALIKE, GIVEN, UNEQUAL

_RATIO_MAX: Final = {ALIKE: 1.15, UNEQUAL: 1.2}
"""As for a commit. The same overhead is a larger share of the shorter ones among unequal links."""


def repeats_of(report: Report) -> list[Repeats]:
    return list(grouped(report.of(create_latency.NAME)))


def of(several: Repeats) -> str:
    """The case, in words."""
    return f"{several.case['round_trips']}, leaders {several.case['leaders']}"


def ratio_max(several: Repeats) -> float:
    """The goal."""
    return _RATIO_MAX[str(several.case["links"])]


def over_floor(several: Repeats, regions: Sequence[str]) -> dict[str, float]:
    """p50 of minted keys over the region's floor, by region, the median over repeats."""
    found = {}
    for region in regions:
        own, floor = f"p50_ms:{MINTED}:{region}", f"floor_ms:{region}"
        ratios = paired_ratios(several, several, own, floor)
        if ratios:
            found[region] = statistics.median(ratios)
    return found


def section(report: Report) -> Section:
    repeats = repeats_of(report)
    return Section(
        "Create latency",
        "One session outstanding, from each region: a create, for which the library mints the key, "
        "in turn with a bind of a key that the application gives. The floor is the ping of the "
        "nearest other region (of five regions, the second nearest): all that outlives a region "
        "pays it. Soonest: the minted keys in a group of which none costs less from there.",
        tuple(_table(several, report.regions) for several in repeats),
        lambda: tuple(_plots(repeats, report)),
    )


def _table(several: Repeats, regions: Sequence[str]) -> Table:
    ratios = over_floor(several, regions)
    rows = tuple(
        (
            f"from {region}",
            ms(several.median(f"floor_ms:{region}")),
            ms(several.median(f"p50_ms:{MINTED}:{region}")),
            ms(several.median(f"p99_ms:{MINTED}:{region}")),
            times(ratios.get(region)),
            f"{ratio_max(several):g} ×",
            share(several.median(f"soonest_share:{region}")),
            ms(several.median(f"p50_ms:{GIVEN}:{region}")),
            ms(several.median(f"p99_ms:{GIVEN}:{region}")),
            rate(several.total(f"failed:{region}")),
        )
        for region in regions
    )
    columns = (
        of(several),
        "floor",
        "create p50",
        "p99",
        "/ floor",
        "goal",
        "soonest",
        "given p50",
        "p99",
        "failed",
    )
    return Table(columns, rows)


def _plots(repeats: Sequence[Repeats], report: Report) -> Iterator[Plot]:
    for number, several in enumerate(repeats, start=1):
        curves = [Curve(several.system, what, several.histogram(what)) for what in several.what]
        # Where links differ there is no one ping; where they are alike, they are the run's own.
        alike = several.case["links"] == ALIKE
        pings = Histogram.sum(report.pings.values()) if alike else Histogram()
        drawn = latency_cdf(f"{create_latency.NAME}-{number}", curves, pings)
        yield replace(drawn, caption=f"{of(several)}. {drawn.caption}")
