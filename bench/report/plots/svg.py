"""The hand in which everything is drawn: sizes, colours, and a figure as inline SVG.

Text stays text, so the page is searched and read aloud; nothing is loaded from elsewhere.
"""

import io
import re
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH_IN: Final = 8.4
HEIGHT_IN: Final = 3.9
TARGET_MS: Final = 20.0
INK: Final = "#1c2733"
FAINT: Final = "#8a96a3"
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


def line(x: Axes, at: float, text: str, colour: str, *, top: float = 0.03) -> None:
    """A line across, at a value of x, with its name beside it."""
    x.axvline(at, color=colour, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    x.annotate(
        text,
        (at, top),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        color=colour,
        rotation=90,
        va="bottom",
        ha="left",
        fontsize=8.5,
    )
