"""`globaltable status`: what each node says of itself, side by side."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.exits import ExitStatus
from globaltable.cli.member import state_of
from globaltable.cli.options import ENDPOINTS_DEFAULT, AsJson, Endpoints, addresses_of
from globaltable.cli.tls import tls
from globaltable.errors import GlobalTableError

if TYPE_CHECKING:
    from globaltable.admin.topology import ClusterProgress
    from globaltable.client import GroupStatus, Status


def status(
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="For each node.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Print what each node knows of itself, its peers and its groups; what is under way.

    Exit status 3 if no node answers, or a group has no leader that any of them knows.
    """
    from globaltable.admin.topology import look

    statuses: dict[str, Status] = {}
    for address in addresses_of(endpoints):
        try:
            statuses[address] = ask(address, timeout_s)
        except GlobalTableError as error:
            print(f"globaltable: {address}: {error}", file=sys.stderr)
    if as_json:
        for address, one in statuses.items():
            print(json.dumps({"address": address, **_plain(one)}))
    elif statuses:
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        now = look([*statuses], tls())
        console.print(_nodes(statuses, now))
        console.print()
        console.print(_groups(statuses))
        for line in (*_under_way(now), *_not_final(now)):
            print(line)
    led = {g.group for one in statuses.values() for g in one.groups if g.leader_region}
    wanted = {g.group for one in statuses.values() for g in one.groups}
    if not statuses or led != wanted:
        raise typer.Exit(ExitStatus.UNAVAILABLE)


def ask(address: str, timeout_s: float) -> "Status":
    """What the node at an address says of itself."""
    from globaltable.client import SyncGlobalTable

    # Any valid name does: a status is of the node, not of a table.
    with SyncGlobalTable.connect(
        [address], table="status", timeout=timeout_s, discover=False, tls=tls()
    ) as client:
        return client.status(address)


def _plain(value: Any) -> Any:
    """Named tuples as objects."""
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return getattr(value, "name", value)


def _not_final(now: "ClusterProgress") -> list[str]:
    """That there is a level to be raised to, if there is."""
    from globaltable.admin.levels import newest_of_any

    level, newest = now.topology.level, newest_of_any(now)
    if newest == level:
        return []
    return [f"\nlevel {level} is in force, and some nodes understand {newest}: globaltable upgrade"]


def _under_way(now: "ClusterProgress") -> list[str]:
    """What the cluster is about, beside serving."""
    lines = [
        f"group {group.wanted.number} waits for {waits_for}"
        for group in now.groups
        if (waits_for := now.waits_for(group))
    ]
    lines += [f"{node.name} is leaving" for node in now.leaving]
    if lines:
        lines.insert(0, f"\nunder way, to version {now.topology.version} of the topology:")
    return lines


def _nodes(statuses: "dict[str, Status]", now: "ClusterProgress") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("NODE", "REGION", "ADDRESS", "UP", "STATE", "LEADS", "PEERS"):
        table.add_column(title)
    for address, one in statuses.items():
        led = sum(group.role.name == "LEADER" for group in one.groups)
        peers = ", ".join(
            f"{peer.node} {peer.round_trip_s * 1000:.1f} ms"
            if peer.connected
            else f"{peer.node} down"
            for peer in one.peers
        )
        leads = f"{led} of {len(one.groups)}"
        node = now.topology.node_by_name.get(one.node)
        state = state_of(node, now) if node is not None else "leaving"
        table.add_row(one.node, one.region, address, f"{one.uptime_s:.0f} s", state, leads, peers)
    asked = {one.node for one in statuses.values()}
    for node in now.topology.nodes:
        if node.name not in asked:
            state = state_of(node, now) + ", not asked" * (node.name not in now.silent)
            table.add_row(node.name, node.region, node.client, "", state, "", "")
    return table


def _standing(replica: "GroupStatus") -> str:
    """How far a replica has applied its group, or why it serves nobody."""
    if replica.failed:
        return f"failed: {replica.failure}"
    if replica.rebuilding:
        return f"rebuilding: {replica.rebuilding}"
    return str(replica.applied_revision)


def _groups(statuses: "dict[str, Status]") -> Table:
    """One line a group: its leader, and how far each node has applied it that has a replica."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("GROUP", "LEADER", "TERM"):
        table.add_column(title)
    table.add_column("SLOTS", justify="right")
    for one in statuses.values():
        table.add_column(f"APPLIED ON {one.node}", justify="right")
    by_group: dict[int, dict[str, GroupStatus]] = {}
    for address, one in statuses.items():
        for group in one.groups:
            by_group.setdefault(group.group, {})[address] = group
    for number, replicas in sorted(by_group.items()):
        latest = max(replicas.values(), key=lambda replica: (replica.term, replica.leader_region))
        applied = [_standing(replicas[at]) if at in replicas else "" for at in statuses]
        # Of the replica that has applied most.
        slots = max(replicas.values(), key=lambda replica: replica.applied_revision).slots
        known = (latest.leader_region or "none", str(latest.term), str(slots))
        table.add_row(str(number), *known, *applied)
    return table
