"""The demo's figures, as a table for people and as JSON for scripts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from globaltable.demo.latency import Latency

TARGET_MS: Final = 20.0


@dataclass(slots=True)
class Figures:
    """What the demo found out."""

    round_trip_ms: float
    sessions: int = 0
    answers: int = 0
    winners: dict[str, int] = field(default_factory=dict)
    binds_per_s: float = 0.0
    one_at_a_time: dict[str, Latency] = field(default_factory=dict)
    racing: dict[str, Latency] = field(default_factory=dict)
    killed_region: str = ""
    resumed_led_by_it_s: float = 0.0
    resumed_led_by_others_s: float = 0.0
    caught_up_s: float = 0.0
    bindings_per_replica: dict[str, int] = field(default_factory=dict)
    replicas_equal: bool = False
    bound_twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return self.replicas_equal and not self.bound_twice and not self.lost

    def to_json(self) -> dict[str, Any]:
        latencies = {
            name: {region: one._asdict() for region, one in getattr(self, name).items()}
            for name in ("one_at_a_time", "racing")
        }
        return {**asdict(self), **latencies, "holds": self.holds}


def print_report(console: Console, figures: Figures) -> None:
    for table in (_promises(figures), _latencies(figures), _outage(figures)):
        console.print()
        console.print(table)


def _table(*titles: str) -> Table:
    """Columns without lines: the first to the left, the figures to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number == 0 else "right")
    return table


def _promises(figures: Figures) -> Table:
    table = _table("SESSIONS", f"{figures.sessions:,}")
    for unit, count in figures.winners.items():
        table.add_row(f"won by {unit}", f"{count:,}")
    table.add_row("bound twice", _none_is_good(len(figures.bound_twice)))
    table.add_row("lost", _none_is_good(len(figures.lost)))
    held = ", ".join(f"{count:,}" for count in figures.bindings_per_replica.values())
    same = "[green]the same[/]" if figures.replicas_equal else "[red]NOT the same[/]"
    table.add_row(f"bindings in {', '.join(figures.bindings_per_replica)}", f"{held}: {same}")
    return table


def _latencies(figures: Figures) -> Table:
    table = _table(f"COMMIT LATENCY, TARGET {TARGET_MS:g} MS", "P50", "P99", "P99.9")
    _add_latencies(table, "one at a time", figures.one_at_a_time)
    _add_latencies(table, f"racing, {figures.binds_per_s:,.0f} binds/s", figures.racing)
    return table


def _add_latencies(table: Table, what: str, latencies: Mapping[str, Latency]) -> None:
    for region, latency in latencies.items():
        values = (latency.p50_ms, latency.p99_ms, latency.p999_ms)
        cells = [
            f"[{'green' if value <= TARGET_MS else 'yellow'}]{value:.1f} ms[/]" for value in values
        ]
        table.add_row(f"{what}, {region}", *cells)


def _outage(figures: Figures) -> Table:
    table = _table(f"{figures.killed_region} KILLED".upper(), "AFTER")
    table.add_row("writes resumed, groups it led", f"{figures.resumed_led_by_it_s:.2f} s")
    table.add_row("writes resumed, other groups", f"{figures.resumed_led_by_others_s:.2f} s")
    table.add_row("caught up, once started again", f"{figures.caught_up_s:.2f} s")
    return table


def _none_is_good(count: int) -> str:
    return "[green]0[/]" if count == 0 else f"[red]{count:,}[/]"
