"""Binds a second against what they took, for each system: median as a line, p99 as a thin one."""

from collections.abc import Sequence
from typing import Any

from globaltable.bench.report.medians import Repeats
from globaltable.bench.report.plots import svg
from globaltable.bench.report.plots.svg import Plot
from globaltable.bench.scenarios.throughput import CLOSED, OPEN


def load_latency(name: str, repeats: Sequence[Repeats]) -> Plot:
    """Both axes are logarithmic: systems are multiples apart."""
    figure, x = svg.axes()
    series: dict[tuple[str, str], list[tuple[float, float, float, str]]] = {}
    for several in repeats:
        kind = str(several.case["load"])
        rate, p50, p99 = (several.median(f) for f in ("binds_per_s", "p50_ms", "p99_ms"))
        if kind in (CLOSED, OPEN) and rate and p50 is not None and p99 is not None:
            series.setdefault((several.system, kind), []).append((rate, p50, p99, _name(several)))
    for (system, kind), points in series.items():
        colour = svg.SYSTEM_COLOURS.get(system, svg.INK)
        rates = [point[0] for point in points]
        p50s, p99s = [point[1] for point in points], [point[2] for point in points]
        closed = kind == CLOSED
        how = "callers" if closed else "at a rate"
        marker = "o" if closed else "s"
        full: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "linewidth": 1.8,
        }
        x.plot(rates, p50s, label=f"{system}, {how}, p50", **full)
        x.plot(rates, p99s, label=f"{system}, {how}, p99", **full | {"linewidth": 0.9, "mfc": "w"})
        for rate, p50, _, text in points:
            x.annotate(
                text,
                (rate, p50),
                xytext=(0, -14 if closed else 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=colour,
            )
    x.set_xscale("log")
    x.set_yscale("log")
    svg.number_ticks(x.xaxis)
    svg.number_ticks(x.yaxis)
    x.axhline(svg.TARGET_MS, color=svg.FAINT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    x.annotate(
        "20 ms",
        (0.005, svg.TARGET_MS),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        color=svg.FAINT,
        fontsize=8.5,
    )
    x.margins(0.12)
    x.set_xlabel("binds a second")
    x.set_ylabel("latency, ms")
    svg.legend(x)
    caption = "Binds a second against latency, medians over repeats; to the lower right is better."
    return svg.plot(figure, name, caption)


def _name(several: Repeats) -> str:
    if several.case["load"] == OPEN:
        return f"{several.case['rate_per_s']:,.0f}/s"
    return f"{several.case['callers']:,}"
