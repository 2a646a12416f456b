"""`python -m globaltable.bench.costs [binds|gets|disk|idle] ...`: what one of a thing costs.

The figures that `docs/scaling.md` reckons with, measured on this machine. Without a name, all.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from globaltable.bench import machine, unit_costs
from globaltable.bench.network import open_network
from globaltable.bench.report.terminal import WIDTH
from globaltable.bench.round_trips import RoundTrips
from globaltable.bench.scenarios.scenario import Stage, comma_separated
from globaltable.bench.unit_costs import Cost
from globaltable.errors import GlobalTableError
from globaltable.server.config import Timeouts

KINDS: Final = ("binds", "gets", "disk", "idle")
_SECONDS_MAX: Final = 3_600
_COMMAND: Final = "python -m globaltable.bench.costs"


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(prog=_COMMAND, description=__doc__)
    own.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)} (all)")
    own.add_argument(
        "--regions",
        type=comma_separated(str),
        default=["a", "b", "c"],
        help="three or five, a node in each (a,b,c)",
    )
    own.add_argument(
        "--round-trip-ms", type=float, default=10.0, help="between any two (%(default)s)"
    )
    own.add_argument("--seconds", type=_seconds, default=8.0, help="of each load (%(default)s)")
    own.add_argument(
        "--callers",
        type=comma_separated(_count),
        default=[3, 24, 96, 384, 1536],
        help="of binds, in all regions together (3,24,96,384,1536)",
    )
    own.add_argument(
        "--bind-groups", type=_count, help="of the nodes, for binds (as many as regions)"
    )
    own.add_argument(
        "--sessions",
        type=comma_separated(_count),
        default=[100_000, 1_000_000],
        help="of disk (100000,1000000)",
    )
    own.add_argument(
        "--groups",
        type=comma_separated(_count),
        default=[3, 48, 192],
        help="of idle, each more than the last (3,48,192)",
    )
    own.add_argument(
        "--heartbeat-ms",
        type=float,
        default=Timeouts().heartbeat_s * 1_000,
        help="of the nodes, for binds and idle (%(default)s)",
    )
    own.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return own


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(f"{number} is not a number of things that there are")
    return number


def _seconds(text: str) -> float:
    if not 1 <= (seconds := float(text)) <= _SECONDS_MAX:
        raise ValueError(f"{seconds} s: loads last from 1 to {_SECONDS_MAX} s")
    return seconds


_count.__name__ = "number from 1 on"
_seconds.__name__ = "time in seconds, from 1 on"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    if unknown := [kind for kind in options.kinds if kind not in KINDS]:
        print(f"costs: {unknown[0]!r} is none of {', '.join(KINDS)}", file=sys.stderr)
        return 2
    if len(set(options.groups)) != len(options.groups):
        print(f"costs: --groups {options.groups}: each must be another", file=sys.stderr)
        return 2
    report: dict[str, Any] = {
        "machine": machine.describe(),
        "command": shlex.join([*_COMMAND.split(), *words]),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "costs": [],
    }
    try:
        round_trips = RoundTrips(options.round_trip_ms)
        with open_network(options.regions, round_trips, "injected") as network:
            stage = Stage(network, 1, lambda what: print(what, file=sys.stderr, flush=True))
            costs: list[Cost] = []
            for cost in _measured(stage, options):
                costs.append(cost)
                report["costs"].append(cost._asdict())
                if options.json:
                    options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    except (GlobalTableError, ValueError) as error:
        print(f"costs: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    print(
        f"{len(options.regions)} regions, {options.round_trip_ms:g} ms apart, a node in each; "
        f"heartbeats every {options.heartbeat_ms:g} ms"
    )
    show(costs)
    return 0


def _measured(stage: Stage, options: argparse.Namespace) -> Iterator[Cost]:
    timeouts = Timeouts(heartbeat_s=options.heartbeat_ms / 1_000)
    for kind in options.kinds or KINDS:
        if kind == "binds":
            yield from unit_costs.binds(
                stage, options.callers, options.seconds, timeouts, options.bind_groups
            )
        elif kind == "gets":
            yield from unit_costs.gets(stage, options.seconds)
        elif kind == "disk":
            yield from unit_costs.disk(stage, options.sessions)
        else:
            yield from unit_costs.idle(stage, options.groups, options.seconds, timeouts)


def show(costs: Iterable[Cost], console: Console | None = None) -> None:
    """A table of each kind: a line for each figure, a column for each case."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    by_kind: dict[str, list[Cost]] = {}
    for cost in costs:
        by_kind.setdefault(cost.what, []).append(cost)
    for kind, cases in by_kind.items():
        table = Table(title=kind, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        for cost in cases:
            table.add_column(cost.case, justify="right")
        for name in dict.fromkeys(name for cost in cases for name in cost.figures):
            table.add_row(name, *(_said(cost.figures.get(name)) for cost in cases))
        console.print(table)


def _said(value: float | None) -> str:
    """Four digits, and no more than were measured."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
