"""What a report says of crowds that do nothing."""

import statistics

from globaltable.bench.report.medians import Repeats, grouped, paired_ratios
from globaltable.bench.report.section import Section, Table
from globaltable.bench.results import Report
from globaltable.bench.scenarios import idle


def section(report: Report) -> Section:
    repeats = list(grouped(report.of(idle.NAME)))
    without = {
        several.case["beside"]: several for several in repeats if several.case["crowd"] == idle.NONE
    }
    rows = tuple(
        (
            f"{several.case['count']:,} {several.case['crowd']}",
            _each(several.median("memory_kb_each"), " kB"),
            _each(several.median("cpu_us_per_s_each"), " µs/s"),
            *(
                _ratio(several, without.get(several.case["beside"]), figure)
                for figure in ("binds_per_s", "p50_ms", "p99_ms")
            ),
            f"{len(several.measurements)}",
        )
        for several in repeats
        if several.case["crowd"] != idle.NONE
    )
    return Section(
        "Idle",
        "What each takes of the nodes, in memory and, while nobody asks, in processor time; and a "
        "load while all are there, as ratios to the same load just before.",
        (Table(("crowd", "memory each", "CPU each", "binds/s", "p50", "p99", "repeats"), rows),),
    )


def _each(value: float | None, unit: str) -> str:
    return f"{value:,.1f}{unit}" if value is not None else "-"


def _ratio(above: Repeats, below: Repeats | None, figure: str) -> str:
    ratios = paired_ratios(above, below, figure)
    return f"{statistics.median(ratios):.2f} ×" if ratios else "-"
