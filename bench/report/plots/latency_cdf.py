"""How many of the ops were answered within which time, beside the ping and the 20 ms line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from globaltable.bench.histogram import Histogram
from globaltable.bench.report.plots import svg
from globaltable.bench.report.plots.svg import Plot


@dataclass(frozen=True, slots=True)
class Curve:
    system: str
    what: str
    """A region, or whose answers."""
    latencies: Histogram


def latency_cdf(name: str, curves: Sequence[Curve], pings: Histogram) -> Plot:
    """Shares rise on a scale that spreads out the slowest per cent; times are logarithmic."""
    figure, x = svg.axes()
    systems = list(dict.fromkeys(curve.system for curve in curves))
    whats = list(dict.fromkeys(curve.what for curve in curves))
    left_ms = pings.percentile_ms(50) if pings.count else svg.TARGET_MS
    right_ms = svg.TARGET_MS * 1.3
    for curve in curves:
        if not curve.latencies.count:
            continue
        steps = list(curve.latencies.steps())
        own = whats.index(curve.what)
        several = len(systems) > 1
        of_system = svg.SYSTEM_COLOURS.get(curve.system, svg.INK)
        x.step(
            [step.value_ms for step in steps],
            [_spread(step.share) for step in steps],
            where="post",
            color=of_system if several else svg.COLOURS[own % len(svg.COLOURS)],
            linestyle=svg.LINE_STYLES[own % len(svg.LINE_STYLES)] if several else "-",
            linewidth=1.7,
            label=f"{curve.system}, {curve.what}" if several else curve.what,
        )
        left_ms = min(left_ms, steps[0].value_ms)
        right_ms = max(right_ms, 1.3 * curve.latencies.percentile_ms(99))
    if pings.count:
        p50_ms = pings.percentile_ms(50)
        svg.line(x, p50_ms, f"ping {p50_ms:.1f} ms", svg.LIMIT)
    svg.line(x, svg.TARGET_MS, f"{svg.TARGET_MS:g} ms", svg.FAINT, row=1)
    shares = (0.0, 0.5, 0.9, 0.99, 0.999)
    x.set_yticks([_spread(share) for share in shares], ["0 %", "50 %", "90 %", "99 %", "99.9 %"])
    x.set_ylim(0.0, _spread(0.9992))
    x.set_xscale("log")
    x.set_xlim(0.8 * left_ms, right_ms)
    svg.number_ticks(x.xaxis)
    x.set_xlabel("latency, ms")
    x.set_ylabel("answered within")
    svg.legend(x)
    caption = "Share of ops answered within a time; the upper scale widens towards the slowest."
    return svg.plot(figure, name, caption)


def _spread(share: float) -> float:
    """Each further nine is as high as the one before it: 0, 90, 99, 99.9 % at 0, 1, 2, 3."""
    return -math.log10(max(1.0 - share, 1e-6))
