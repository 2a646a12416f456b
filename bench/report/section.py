"""What a report is made of: sections of tables and plots, shown by terminal and page alike."""

from collections.abc import Callable
from dataclasses import dataclass

from globaltable.bench.report.plots.svg import Plot


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    """The first is words, the others are figures."""
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    note: str
    tables: tuple[Table, ...] = ()
    plots: Callable[[], tuple[Plot, ...]] = tuple
    """Drawn when asked for: a terminal does without."""
