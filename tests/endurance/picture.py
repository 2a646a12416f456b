"""The run as a picture: memory, descriptors, disk and what was done, over the hours.

Responsible for the drawing only; the hand is the bench's (`globaltable.bench.report.plots.svg`).
"""

import itertools
from collections.abc import Callable, Sequence

from globaltable.bench.report.plots import svg
from tests.endurance.samples import Held, Sample

_PANELS: tuple[tuple[str, Callable[[Held], float]], ...] = (
    ("memory, MiB", lambda held: held.rss_bytes / (1 << 20)),
    ("descriptors", lambda held: held.descriptors),
    ("disk, MiB", lambda held: held.disk_bytes / (1 << 20)),
)


def picture(samples: Sequence[Sample], caption: str) -> str:
    """SVG: a panel for each resource, with a line for each node, and one for ops a second."""
    figure, panels = svg.panels(len(_PANELS) + 1)
    minutes = [sample.at_s / 60 for sample in samples]
    for x, (label, of) in zip(panels, _PANELS, strict=False):
        for node, colour in zip(samples[0].held, svg.COLOURS, strict=False):
            times = [s.at_s / 60 for s in samples if node in s.held]
            values = [of(s.held[node]) for s in samples if node in s.held]
            x.plot(times, values, color=colour, linewidth=1.5, label=f"node {node}")
            for before, after in itertools.pairwise(samples):
                if after.lives[node] != before.lives[node]:
                    x.axvline(after.at_s / 60, color=colour, linewidth=0.5, alpha=0.4)
        x.set_ylim(bottom=0.0)
        x.set_ylabel(label)
    svg.legend(panels[0])
    last = panels[-1]
    last.plot(minutes, [s.ops_per_s for s in samples], color=svg.INK, label="ended well")
    last.plot(minutes, [s.failed_per_s for s in samples], color=svg.LIMIT, label="did not")
    last.set_ylim(bottom=0.0)
    last.set_ylabel("ops a second")
    svg.legend(last)
    last.set_xlabel(f"minutes since the start\n{caption}")
    return svg.plot(figure, "endurance", caption).svg
