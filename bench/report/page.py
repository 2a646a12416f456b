"""The report as one HTML page that needs nothing else: styles and pictures are within it."""

from html import escape
from pathlib import Path
from typing import Final

from globaltable.bench.report.plots.svg import Plot
from globaltable.bench.report.section import Section, Table
from globaltable.bench.report.sections import sections
from globaltable.bench.results import Report

_STYLE: Final = """
:root { --ink: #1c2733; --soft: #5a6775; --line: #dfe4e9; --good: #2e7d32; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  background: #fff; font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .3rem; }
p { color: var(--soft); max-width: 46rem; margin: .2rem 0 .8rem; }
nav { margin: 1rem 0 0; } nav a { color: #1769aa; margin-right: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0 1.2rem; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .28rem 1.3rem .28rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
.words td, .words th { text-align: left; white-space: normal; vertical-align: top; }
.words td:first-child { color: var(--soft); white-space: nowrap; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .88rem; }
"""


def write(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    made = sections(report)
    links = " ".join(f'<a href="#{_id(one)}">{escape(one.title)}</a>' for one in made)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>GlobalTable bench, {escape(report.started_at)}</title>\n"
        f"<style>{_STYLE}</style>\n"
        f"<h1>GlobalTable bench</h1>\n<p>{escape(report.started_at)}, "
        f"{escape(report.machine.get('cores', '?'))} cores, network: {escape(report.network)}, "
        f"regions {escape(', '.join(report.regions))}. <code>{escape(report.command)}</code></p>\n"
        f"<nav>{links}</nav>\n" + "".join(map(_section, made)) + "</html>\n"
    )


def _section(section: Section) -> str:
    return (
        f'<section id="{_id(section)}">\n<h2>{escape(section.title)}</h2>\n'
        f"<p>{escape(section.note)}</p>\n"
        + "".join(map(_table, section.tables))
        + "".join(map(_figure, section.plots()))
        + "</section>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in table.rows)
    words = ' class="words"' if len(table.columns) == 2 else ""
    heading = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    return f'<div class="wide"><table{words}>\n{heading}<tbody>\n{rows}</tbody></table></div>\n'


def _cell(text: str) -> str:
    kind = {"met": ' class="met"', "MISSED": ' class="missed"'}.get(text, "")
    return f"<td{kind}>{escape(text)}</td>"


def _figure(plot: Plot) -> str:
    caption = escape(plot.caption)
    return (
        f'<figure role="img" aria-label="{caption}">\n{plot.svg}\n'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _id(section: Section) -> str:
    return "".join(c if c.isalnum() else "-" for c in section.title.lower())
