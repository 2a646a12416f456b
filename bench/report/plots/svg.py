"""The hand in which everything is drawn: sizes, colours, and a figure as inline SVG.

Text stays text, so the page is searched and read aloud; nothing is loaded from elsewhere.
"""

import io
import re
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH_IN: Final = 8.4
HEIGHT_IN: Final = 3.9
TARGET_MS: Final = 20.0
INK: Final = "#1c2733"
FAINT: Final = "#66727f"
LIMIT: Final = "#b3261e"
SYSTEM_COLOURS: Final = {"globaltable": "#1769aa", "etcd": "#d97706", "zookeeper": "#5b8c3a"}
COLOURS: Final = ("#1769aa", "#d97706", "#5b8c3a", "#8e4ec6", "#0f8b8d", "#a4373a")
LINE_STYLES: Final = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)))

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "globaltable",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, and what it shows in words."""

    name: str
    caption: str
    svg: str


def axes(width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN) -> tuple[Figure, Axes]:
    """A new figure of one pair of axes."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.add_subplot()


def panels(
    count: int, width_in: float = WIDTH_IN, height_in: float = 1.7
) -> tuple[Figure, list[Axes]]:
    """A new figure of so many axes below each other, which share their times."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, count * height_in), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, list(figure.subplots(count, sharex=True))


def plot(figure: Figure, name: str, caption: str) -> Plot:
    """The figure, drawn; its ids begin with its name, for several share one page."""
    drawn = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    return Plot(name, caption, svg)


def line(x: Axes, at: float, text: str, colour: str, *, row: int = 0) -> None:
    """A line down, at a value of x, with its name above the axes; rows keep names apart."""
    x.axvline(at, color=colour, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    x.annotate(
        text,
        (at, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3 + 11 * row),
        textcoords="offset points",
        color=colour,
        ha="center",
        fontsize=8.5,
    )


def number_ticks(axis: Axis) -> None:
    """On a logarithmic axis: 1, 2 and 5 of each decade have their numbers."""
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(lambda value, _: f"{value:,g}" if f"{value:e}"[0] in "235" else "")


def legend(x: Axes) -> None:
    """To the right of the axes, so that it hides nothing."""
    x.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor=INK)
