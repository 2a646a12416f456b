"""`globaltable top`: what a cluster does now, live in the terminal.

It asks every node's Status, and tells rates from one look to the next. A node that does not answer
stays on the screen, with the reason. Groups that are not well come first; those that do not fit are
counted.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints, addresses_of
from globaltable.cli.status import ask
from globaltable.errors import GlobalTableError
from globaltable.pace import NodePace, pace

if TYPE_CHECKING:
    from globaltable.client import GroupStatus, Status

NODES_ASKED_MAX: Final = 32
"""At a time."""
_LINES_BESIDE_GROUPS: Final = 6


class Look(NamedTuple):
    """At all nodes, at one time: what each says, or why it does not."""

    statuses: Mapping[str, "Status"]
    silent: Mapping[str, str]


def top(
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    interval_s: Annotated[
        float,
        typer.Option("--interval", min=0.2, metavar="SECONDS", help="From one look to the next."),
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look twice, print once, and end: for pipes.")
    ] = False,
    groups: Annotated[
        int | None,
        typer.Option("--groups", min=0, help="Groups to show; by default as many as fit."),
    ] = None,
) -> None:
    """Show live what each node does: ops, commit latency, round trips, leaders, what lags.

    Give all nodes with --endpoints. Ends with Control-C. With --once: exit status 3 if a node does
    not answer, or a group is not well.
    """
    addresses = addresses_of(endpoints)
    console = Console(highlight=False)
    if once and not console.is_terminal:
        console = Console(width=140, highlight=False)
    with ThreadPoolExecutor(min(len(addresses), NODES_ASKED_MAX) or 1) as pool:
        before = _look(pool, addresses, interval_s)
        if once:
            time.sleep(interval_s)
            now = _look(pool, addresses, interval_s)
            console.print(view(before, now, addresses, groups))
            if now.silent or any(ills_of(now).values()):
                raise typer.Exit(ExitStatus.UNAVAILABLE)
            return
        shown = view(before, before, addresses, _fitting(console, before, groups))
        with Live(shown, console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval_s)
                now = _look(pool, addresses, interval_s)
                fitting = _fitting(console, now, groups)
                live.update(view(before, now, addresses, fitting), refresh=True)
                before = now


def _look(pool: ThreadPoolExecutor, addresses: Sequence[str], interval_s: float) -> Look:
    statuses, silent = {}, {}
    asked = [(address, pool.submit(ask, address, max(1.0, interval_s))) for address in addresses]
    for address, answer in asked:
        try:
            statuses[address] = answer.result()
        except GlobalTableError as error:
            silent[address] = str(error)
    return Look(statuses, silent)


def _fitting(console: Console, look: Look, groups: int | None) -> int:
    """How many groups there is room for."""
    if groups is not None:
        return groups
    nodes = len(look.statuses) + len(look.silent)
    return max(1, console.height - nodes - _LINES_BESIDE_GROUPS)


# --- what is shown --------------------------------------------------------------------------------


def ills_of(look: Look) -> dict[int, str]:
    """By group, what is not well with it, on which nodes; empty of one that is well."""
    ills: dict[int, list[str]] = {}
    led = {g.group for one in look.statuses.values() for g in one.groups if g.role.name == "LEADER"}
    for one in look.statuses.values():
        for group in one.groups:
            here = ills.setdefault(group.group, [])
            if group.not_ready:
                here.append(f"{one.node}: {group.not_ready}")
    for number, here in ills.items():
        if number not in led:
            here.insert(0, "nobody leads it, of those who answer")
    return {number: "; ".join(here) for number, here in sorted(ills.items())}


def view(
    before: Look, now: Look, addresses: Sequence[str], groups_max: int | None
) -> RenderableType:
    """All that is shown."""
    paces = {
        address: pace(before.statuses[address], status)
        for address, status in now.statuses.items()
        if address in before.statuses
    }
    return Group(
        _head(now, paces),
        Text(),
        _nodes(now, addresses, paces),
        *(Text(f"{address}: {reason}", style="red") for address, reason in now.silent.items()),
        Text(),
        *_groups(now, groups_max),
    )


def _head(now: Look, paces: Mapping[str, NodePace | None]) -> Text:
    ills = ills_of(now)
    ill = sum(map(bool, ills.values()))
    names = {one.cluster for one in now.statuses.values()} or {"nobody answers"}
    known = [one for one in paces.values() if one is not None]
    head = Text(f"{', '.join(sorted(names))}   {time.strftime('%H:%M:%S')}   ")
    nodes = len(now.statuses) + len(now.silent)
    style = "red" if now.silent else "green"
    head.append(f"{len(now.statuses)} of {nodes} nodes answer", style=style)
    head.append("   ")
    style = "red" if ill else "green"
    head.append(f"{len(ills) - ill} of {len(ills)} groups are well", style=style)
    head.append(f"   {sum(one.ops for one in known):,.0f} writes/s")
    head.append(f"   {sum(one.keys_read for one in known):,.0f} keys read/s")
    return head


def _table(*columns: str, right: str = "") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        align = "right" if column in right.split("|") else "left"
        table.add_column(column, justify=align, no_wrap=True)  # type: ignore[arg-type]
    return table


_RATES: Final = "WRITES/S|REFUSED/S|FAILED/S|READS/S|P50|P99|LEADS"


def _nodes(now: Look, addresses: Sequence[str], paces: Mapping[str, NodePace | None]) -> Table:
    table = _table(
        *("NODE", "REGION", "UP", "LEADS", "WRITES/S", "P50", "P99", "REFUSED/S", "FAILED/S"),
        *("READS/S", "ROUND TRIPS"),
        right=_RATES,
    )
    for address in addresses:
        status = now.statuses.get(address)
        if status is None:
            continue
        rate = paces.get(address)
        leads = sum(group.role.name == "LEADER" for group in status.groups)
        table.add_row(
            status.node,
            status.region,
            _span(status.uptime_s),
            f"{leads} of {len(status.groups)}",
            *_rates(rate),
            _peers(status),
        )
    return table


def _rates(rate: NodePace | None) -> list[str | Text]:
    if rate is None:
        return [""] * 6
    alarming = [
        Text(f"{value:,.0f}", style="red" if value else "")
        for value in (rate.overloaded, rate.failed)
    ]
    return [
        f"{rate.ops:,.0f}",
        _latency(rate.commit_p50_s),
        _latency(rate.commit_p99_s),
        *alarming,
        f"{rate.keys_read:,.0f}",
    ]


def _latency(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def _peers(status: "Status") -> Text:
    shown = Text()
    for peer in status.peers:
        if shown:
            shown.append(", ")
        if peer.connected:
            shown.append(f"{peer.node} {peer.round_trip_s * 1000:.1f} ms")
        else:
            shown.append(f"{peer.node} down", style="red")
    return shown


def _groups(now: Look, groups_max: int | None) -> list[RenderableType]:
    ills = ills_of(now)
    shown = sorted(ills, key=lambda number: (not ills[number], number))[:groups_max]
    table = _table("GROUP", "LEADER", "TERM", "COMMITTED", "LAG", "WAITING", "", right="COMMITTED")
    for number in shown:
        table.add_row(*_group(now, number, ills[number]))
    hidden = len(ills) - len(shown)
    more = sum(bool(ills[number]) for number in ills if number not in shown)
    rest = [Text(f"{hidden} more, of which {more} are not well")] if hidden else []
    return [table, *rest]


def _group(now: Look, number: int, ill: str) -> list[str | Text]:
    replicas: dict[str, GroupStatus] = {
        one.node: group
        for one in now.statuses.values()
        for group in one.groups
        if group.group == number
    }
    leaders = [node for node, group in replicas.items() if group.role.name == "LEADER"]
    committed = max(group.commit_revision for group in replicas.values())
    lag = [
        f"{node} {committed - group.applied_revision:,}"
        for node, group in replicas.items()
        if group.applied_revision < committed
    ]
    return [
        str(number),
        " or ".join(leaders) or Text("none", style="red"),
        str(max(group.term for group in replicas.values())),
        f"{committed:,}",
        ", ".join(lag) or "none",
        f"{sum(group.pending_ops for group in replicas.values()):,}",
        Text(ill, style="red"),
    ]


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
