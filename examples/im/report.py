"""What the demo found out, as a table."""

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from examples.im.checking import Findings

SHOWN_MAX = 10
"""Of what is wrong."""


@dataclass
class Figures:
    """Of one run. Times are in seconds."""

    chats: int = 0
    created: Counter[str] = field(default_factory=Counter)
    """By the unit that won."""
    disagreed: list[str] = field(default_factory=list)
    """Chats of which two creators were told different units."""
    messages: int = 0
    """Acknowledged."""
    sent_again: int = 0
    slowest_s: float = 0.0
    """From first attempt to acknowledgement."""
    pushed: int = 0
    moves: list[tuple[str, float, int]] = field(default_factory=list)
    """What was moved, how long it took, and how many messages were acknowledged meanwhile."""
    killed_for_s: float = 0.0
    held: dict[str, int] = field(default_factory=dict)
    """Messages, by unit, at the end."""
    chats_held: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=lambda: Findings([], [], [], [], []))

    @property
    def hold(self) -> bool:
        """Whether every promise was kept, and there was something to keep."""
        return self.findings.hold and not self.disagreed and self.messages > 0


def print_report(console: Console, figures: Figures) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("CHATS", justify="left")
    table.add_column(f"{figures.chats:,}", justify="right")
    for unit, count in sorted(figures.created.items()):
        table.add_row(f"created in {unit}", f"{count:,}")
    table.add_row("creators who were told different units", _none_is_good(figures.disagreed))
    table.add_row("[bold]MESSAGES ACKNOWLEDGED[/]", f"[bold]{figures.messages:,}[/]")
    for unit, count in figures.held.items():
        table.add_row(f"in {unit}, of {figures.chats_held[unit]} chats", f"{count:,}")
    findings = figures.findings
    table.add_row("lost", _none_is_good(findings.lost))
    table.add_row("stored twice", _none_is_good(findings.doubled))
    table.add_row("chats out of order", _none_is_good(findings.out_of_order))
    table.add_row("chats in the wrong unit", _none_is_good(findings.misplaced))
    table.add_row("pushed to followers", f"{figures.pushed:,}")
    table.add_row("chats pushed in another order", _none_is_good(findings.pushed_wrong))
    table.add_row("[bold]MEANWHILE[/]", "")
    for which, took_s, count in figures.moves:
        table.add_row(f"moved {which}, under {count:,} messages", f"{took_s:.1f} s")
    table.add_row("A killed, served again after", f"{figures.killed_for_s:.1f} s")
    table.add_row("messages sent again", f"{figures.sent_again:,}")
    table.add_row("slowest message", f"{figures.slowest_s:.1f} s")
    console.print()
    console.print(table)
    for one in _wrong(figures)[:SHOWN_MAX]:
        console.print(f"[red]{one}[/]")
    verdict = "[green]kept[/]" if figures.hold else "[red]BROKEN[/]"
    console.print(f"\nEach message in exactly one unit, in order, none lost or doubled: {verdict}")


def _wrong(figures: Figures) -> list[str]:
    """What is to be looked at, told by what is wrong with it."""
    told = [f"disagreed: {one}" for one in figures.disagreed]
    for what, found in figures.findings._asdict().items():
        told += [f"{what}: {one}" for one in found]
    return told


def _none_is_good(wrong: list[str]) -> str:
    if not wrong:
        return "[green]0[/]"
    return f"[red]{len(wrong):,}[/]"
