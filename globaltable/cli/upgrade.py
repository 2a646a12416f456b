"""`globaltable upgrade`: which level is in force, what a higher one allows, and who prevents it."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.options import ENDPOINTS_DEFAULT, AsJson, Endpoints, addresses_of
from globaltable.cli.tls import tls
from globaltable.errors import Rejected

if TYPE_CHECKING:
    from globaltable.admin.topology import ClusterProgress


def upgrade(
    finalize: Annotated[
        bool,
        typer.Option("--finalize", help="Raise the level in force. It is never lowered."),
    ] = False,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="To raise it.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Print which level of features is in force, and which each node understands.

    Until an upgrade is finalized, every node may go back to the release before, and nothing is
    written that it could not read. To finalize it all nodes must run the new release, and answer.
    Exit status 1 if it is refused.
    """
    from globaltable.admin.levels import newest_of_any
    from globaltable.admin.topology import change, look
    from globaltable.v1 import admin_pb2 as pb

    if not 0 < timeout_s < 1e9:
        raise typer.BadParameter(f"{timeout_s} is not a number of seconds above 0")
    addresses = addresses_of(endpoints)
    now = look(addresses, tls())
    level = newest_of_any(now)
    if finalize and level > now.topology.level:
        _require_all(now, level)
        asked = pb.ChangeTopologyRequest(finalize=pb.FinalizeUpgrade(level=level))
        change(addresses, asked, timeout_s, tls())
        now = look(addresses, tls())
    if as_json:
        print(json.dumps(record(now)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    console.print(_nodes(now))
    print()
    for line in lines(now):
        print(line)


def _require_all(now: "ClusterProgress", level: int) -> None:
    """The nodes check it again. Here it is told even if the one that would be asked is too old."""
    from globaltable.admin.levels import hindrances

    if preventing := hindrances(now, level):
        raise Rejected(
            f"level {level} cannot be in force yet: "
            + "; ".join(f"{node}: {why}" for node, why in preventing.items())
            + "; upgrade and start it, or remove it (globaltable member remove)"
        )


def record(now: "ClusterProgress") -> dict[str, Any]:
    from globaltable.admin.levels import hindrances, newest_of_any
    from globaltable.levels import enabled_by

    level, newest = now.topology.level, newest_of_any(now)
    return {
        "level": level,
        "newest": newest,
        "enables": enabled_by(level, newest),
        "prevented_by": dict(hindrances(now, newest)),
        "nodes": [
            {
                "name": name,
                "release": levels.release,
                "oldest": levels.understood.oldest,
                "newest": levels.understood.newest,
                "noted": levels.noted,
            }
            for name, levels in now.levels.items()
        ],
    }


def lines(now: "ClusterProgress") -> list[str]:
    """The level in force, and what there is to do about it."""
    from globaltable.admin.levels import hindrances, newest_of_any
    from globaltable.levels import enabled_by

    level, newest = now.topology.level, newest_of_any(now)
    told = [f"level {level} is in force"]
    if newest == level:
        return [f"{told[0]}, the newest that any node understands: the upgrade is final"]
    told += [f"level {newest} allows: {what}" for what in enabled_by(level, newest)]
    if preventing := hindrances(now, newest):
        told += [
            f"level {newest} is prevented by {node}: {why}" for node, why in preventing.items()
        ]
    else:
        told.append("every node understands it: globaltable upgrade --finalize")
    return told


def _nodes(now: "ClusterProgress") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("NODE", "RELEASE", "UNDERSTANDS", "STARTS WITH"):
        table.add_column(title)
    for name in now.topology.node_by_name:
        levels = now.levels.get(name)
        if levels is None:
            table.add_row(name, "?", "?", "?")
        else:
            least = f"level {levels.noted} or later" if levels.noted > 1 else "any"
            table.add_row(name, levels.release or "older", str(levels.understood), least)
    return table
