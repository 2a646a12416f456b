"""What `globaltable top` shows of a cluster: sheets of nodes, regions and groups.

A cell knows what it is ordered by, which is not always what it shows. Nothing here knows of a
terminal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from globaltable.pace import NodePace, pace

if TYPE_CHECKING:
    from globaltable.client import GroupStatus, Status


class Look(NamedTuple):
    """At all nodes, at one time: what each says, or why it does not."""

    statuses: Mapping[str, "Status"]
    silent: Mapping[str, str]


class Cell(NamedTuple):
    shown: str | Text
    by: float | str = ""
    """What it is ordered by; of one column all are numbers, or all are text."""

    @property
    def plain(self) -> str:
        return self.shown if isinstance(self.shown, str) else self.shown.plain


def _text(shown: str, style: str = "") -> Cell:
    return Cell(Text(shown, style=style) if style else shown, shown)


def _number(value: float, *, alarming: bool = False) -> Cell:
    shown = f"{value:,.0f}"
    return Cell(Text(shown, style="red") if alarming and value else shown, float(value))


def _latency(seconds: float | None) -> Cell:
    return Cell("", -1.0) if seconds is None else Cell(f"{seconds * 1000:.1f} ms", seconds)


def _span(seconds: float) -> Cell:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return Cell(f"{seconds / size:.0f} {unit}", seconds)
    return Cell(f"{seconds:.0f} s", seconds)


@dataclass(frozen=True, slots=True)
class Sheet:
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    right: frozenset[str] = frozenset()
    """Columns of numbers."""

    def containing(self, text: str) -> "Sheet":
        """Only rows in which it stands somewhere, in whatever case."""
        wanted = text.casefold()
        kept = [row for row in self.rows if any(wanted in c.plain.casefold() for c in row)]
        return Sheet(self.columns, kept, self.right)

    def ordered(self, column: int, *, falling: bool) -> "Sheet":
        """By a column; rows that are alike there stay in order."""
        rows = sorted(self.rows, key=lambda row: row[column].by, reverse=falling)
        return Sheet(self.columns, rows, self.right)

    def table(self, first: int = 0, count: int | None = None, marked: int | None = None) -> Table:
        """So many rows from `first` on; `marked` is the column they are ordered by."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for number, column in enumerate(self.columns):
            title = Text(column, style="bold reverse" if number == marked else "bold")
            align = "right" if column in self.right else "left"
            table.add_column(title, justify=align, no_wrap=True)  # type: ignore[arg-type]
        last = len(self.rows) if count is None else first + count
        for row in self.rows[first:last]:
            table.add_row(*(cell.shown for cell in row))
        return table


_RIGHT: Final = frozenset(
    ["WRITES/S", "REFUSED/S", "FAILED/S", "READS/S", "P50", "P99", "LEADS", "NODES", "COMMITTED"]
)


def paces_of(before: Look, now: Look) -> dict[str, NodePace | None]:
    return {
        address: pace(before.statuses[address], status)
        for address, status in now.statuses.items()
        if address in before.statuses
    }


# --- nodes and regions ----------------------------------------------------------------------------


def nodes(now: Look, addresses: Sequence[str], paces: Mapping[str, NodePace | None]) -> Sheet:
    columns = (
        *("NODE", "REGION", "UP", "LEADS", "WRITES/S", "P50", "P99", "REFUSED/S", "FAILED/S"),
        *("READS/S", "ROUND TRIPS"),
    )
    rows = []
    for address in addresses:
        status = now.statuses.get(address)
        if status is None:
            continue
        leads = _led(status)
        rows.append(
            [
                _text(status.node),
                _text(status.region),
                _span(status.uptime_s),
                Cell(f"{leads} of {len(status.groups)}", float(leads)),
                *_rates(paces.get(address)),
                _peers(status),
            ]
        )
    return Sheet(columns, rows, _RIGHT)


def _led(status: "Status") -> int:
    return sum(group.role.name == "LEADER" for group in status.groups)


def _rates(rate: NodePace | None) -> list[Cell]:
    if rate is None:
        return [Cell("", -1.0)] * 6
    return [
        _number(rate.ops),
        _latency(rate.commit_p50_s),
        _latency(rate.commit_p99_s),
        _number(rate.overloaded, alarming=True),
        _number(rate.failed, alarming=True),
        _number(rate.keys_read),
    ]


def _peers(status: "Status") -> Cell:
    shown = Text()
    worst = 0.0
    for peer in status.peers:
        if shown:
            shown.append(", ")
        if peer.connected:
            shown.append(f"{peer.node} {peer.round_trip_s * 1000:.1f} ms")
            worst = max(worst, peer.round_trip_s)
        else:
            shown.append(f"{peer.node} down", style="red")
            worst = float("inf")
    return Cell(shown, worst)


def regions(now: Look, paces: Mapping[str, NodePace | None]) -> Sheet:
    """What the nodes of a region do together; latencies are those of its slowest node."""
    columns = (
        *("REGION", "NODES", "LEADS", "WRITES/S", "P50", "P99", "REFUSED/S", "FAILED/S"),
        "READS/S",
    )
    by_region: dict[str, list[str]] = {}
    for address, status in now.statuses.items():
        by_region.setdefault(status.region, []).append(address)
    rows = []
    for region, addresses in sorted(by_region.items()):
        known = [rate for one in addresses if (rate := paces.get(one)) is not None]
        rows.append(
            [
                _text(region),
                _number(len(addresses)),
                _number(sum(_led(now.statuses[one]) for one in addresses)),
                *_rates(_together(known)),
            ]
        )
    return Sheet(columns, rows, _RIGHT)


def _together(rates: Sequence[NodePace]) -> NodePace | None:
    if not rates:
        return None
    return NodePace(
        ops=sum(rate.ops for rate in rates),
        overloaded=sum(rate.overloaded for rate in rates),
        failed=sum(rate.failed for rate in rates),
        keys_read=sum(rate.keys_read for rate in rates),
        commit_p50_s=_slowest(rate.commit_p50_s for rate in rates),
        commit_p99_s=_slowest(rate.commit_p99_s for rate in rates),
    )


def _slowest(latencies: Iterable[float | None]) -> float | None:
    return max((one for one in latencies if one is not None), default=None)


# --- groups ---------------------------------------------------------------------------------------


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


def groups(now: Look) -> Sheet:
    """Those that are not well come first."""
    ills = ills_of(now)
    replicas: dict[int, dict[str, GroupStatus]] = {number: {} for number in ills}
    for one in now.statuses.values():
        for group in one.groups:
            replicas[group.group][one.node] = group
    order = sorted(ills, key=lambda number: (not ills[number], number))
    rows = [_group(number, replicas[number], ills[number]) for number in order]
    columns = ("GROUP", "LEADER", "TERM", "COMMITTED", "LAG", "WAITING", "NOT WELL")
    return Sheet(columns, rows, _RIGHT)


def _group(number: int, replicas: Mapping[str, "GroupStatus"], ill: str) -> list[Cell]:
    leaders = [node for node, group in replicas.items() if group.role.name == "LEADER"]
    committed = max(group.commit_revision for group in replicas.values())
    behind = {
        node: committed - group.applied_revision
        for node, group in replicas.items()
        if group.applied_revision < committed
    }
    term = max(group.term for group in replicas.values())
    lag = ", ".join(f"{node} {entries:,}" for node, entries in behind.items())
    return [
        Cell(str(number), float(number)),
        _text(" or ".join(leaders)) if leaders else _text("none", style="red"),
        Cell(str(term), float(term)),
        _number(committed),
        Cell(lag or "none", float(max(behind.values(), default=0))),
        _number(sum(group.pending_ops for group in replicas.values())),
        _text(ill, style="red"),
    ]
