"""Binds a second from before a leader is lost until its leadership is back: each trial a line."""

import statistics
from collections.abc import Sequence

from globaltable.bench.report.plots import svg
from globaltable.bench.report.plots.svg import Plot
from globaltable.bench.results import Measurement


def failover_timeline(kind: str, trials: Sequence[Measurement]) -> Plot:
    figure, x = svg.axes()
    rates: dict[float, list[float]] = {}
    for trial in trials:
        x.plot(
            [at_s for at_s, _ in trial.timeline],
            [rate for _, rate in trial.timeline],
            color=svg.COLOURS[0],
            linewidth=0.7,
            alpha=0.35,
        )
        for at_s, rate in trial.timeline:
            rates.setdefault(at_s, []).append(rate)
    # Beyond what half of the trials saw, a median would be of the slow ones only.
    common = sorted(at_s for at_s, seen in rates.items() if 2 * len(seen) >= len(trials))
    x.plot(
        common,
        [statistics.median(rates[at_s]) for at_s in common],
        color=svg.COLOURS[0],
        linewidth=2.0,
    )
    svg.line(x, 0.0, "lost", svg.LIMIT)
    moments = (
        ("resumed_s", "writes go on", svg.COLOURS[2], None),
        ("joined_s", "node is back", svg.FAINT, None),
        ("returned_s", "leads again", svg.COLOURS[3], "joined_s"),
    )
    for row, (figure_name, text, colour, after) in enumerate(moments):
        at_s = statistics.median(
            trial.figures[figure_name] + (trial.figures[after] if after else 0.0)
            for trial in trials
        )
        if at_s != float("inf"):
            svg.line(x, at_s, f"{text}, {at_s:.2f} s", colour, row=(row + 1) % 2)
    x.set_ylim(bottom=0.0)
    x.set_xlabel("seconds since the loss")
    x.set_ylabel("binds a second, all groups")
    what = {"kill": "A node is killed", "cut": "A node is cut off"}.get(kind, kind)
    caption = (
        f"{what}: {len(trials)} trials (thin) and their median (thick); lines at median moments."
    )
    return svg.plot(figure, f"failover-{kind}", caption)
