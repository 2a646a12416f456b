"""The report in a terminal: the tables of each section, in the page's order."""

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from globaltable.bench.report.section import Section, Table
from globaltable.bench.report.sections import sections
from globaltable.bench.results import Report

WIDTH: Final = 110
"""Where nobody says how wide it is: a file, a pipe."""


def show(report: Report, console: Console | None = None) -> None:
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    for section in sections(report):
        _show(section, console)


def _show(section: Section, console: Console) -> None:
    console.print()
    console.print(Text(section.title.upper(), style="bold"))
    console.print(Text(section.note, style="dim"))
    for table in section.tables:
        console.print()
        console.print(_laid_out(table))


def _laid_out(table: Table) -> RichTable:
    laid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    words = len(table.columns) == 2
    for number, column in enumerate(table.columns):
        if number == 0 or words:
            laid.add_column(column)
        else:
            laid.add_column(column, justify="right", no_wrap=True)
    laid.show_header = any(table.columns)
    for row in table.rows:
        laid.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return laid


def _style(cell: str) -> str:
    return {"met": "green", "MISSED": "bold red"}.get(cell, "")
