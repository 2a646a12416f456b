"""`globaltable backup`, `verify` and `restore`: a cluster's bindings to a file, and back."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import addresses_of
from globaltable.cli.progress import bar
from globaltable.cli.tls import tls
from globaltable.errors import ConfigError, Corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from globaltable.admin.backup import Taken
    from globaltable.backup.contents import Count

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Ask the nodes of this file.", show_default=False
    ),
]
NodeAddresses = Annotated[
    str,
    typer.Option(
        "--node",
        metavar="HOST:PORT,...",
        envvar="GLOBALTABLE_ENDPOINTS",
        help="Or ask these, the first first.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def addresses(config: Path | None, nodes: str) -> list[str]:
    """Of the nodes to ask, from one option or the other."""
    if config is not None:
        from globaltable.server import config_file

        return [str(node.client) for node in config_file.load(config).nodes]
    if not nodes:
        raise ConfigError("whom to ask? give --config FILE or --node HOST:PORT")
    return addresses_of(nodes)


def backup(
    file: File,
    config: ConfigFile = None,
    node: NodeAddresses = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write all bindings of a cluster to a file while it serves.

    Everything that was acknowledged before the command was begun is in it, and some of what was
    since: each group as of a moment of its own. The file is there once it is whole.
    """
    from globaltable.admin.backup import take
    from globaltable.admin.files import created
    from globaltable.admin.nodes import Nodes

    began = time.monotonic()
    with (
        Nodes.connect(addresses(config, node), tls()) as nodes,
        created(file, force=force) as out,
        bar("backup") as progress,
    ):
        taken = take(nodes, out, progress)
    _print(file, taken, as_json, seconds=round(time.monotonic() - began, 3))


def verify(file: File, as_json: AsJson = False) -> None:
    """Read a backup from beginning to end, check everything, and print what it holds.

    Exit status 1 if it is damaged or was cut short, 2 if it is no backup at all, or one of a later
    release.
    """
    from globaltable.admin.backup import verify as check
    from globaltable.admin.files import opened
    from globaltable.backup.records import NewerBackup

    try:
        with opened(file) as source, bar("verify") as progress:
            taken = check(source, progress)
    except NewerBackup as error:
        print(f"globaltable: {file}: {error}", file=sys.stderr)
        raise typer.Exit(ExitStatus.USAGE) from None
    except Corrupt as error:
        print(f"globaltable: {file} is damaged: {error}", file=sys.stderr)
        raise typer.Exit(ExitStatus.REJECTED) from None
    _print(file, taken, as_json)


def restore(
    file: File,
    config: ConfigFile = None,
    node: NodeAddresses = "",
    as_json: AsJson = False,
) -> None:
    """Bring a backup into a new cluster, of any shape, that is running and empty.

    Units, versions and tombstones are kept; revisions are the new cluster's. Let nobody else in
    before it is done. If it is broken off, run it again: it goes on where it was.
    """
    from globaltable.admin.files import opened
    from globaltable.admin.nodes import Nodes
    from globaltable.admin.restore import restore as bring_in

    began = time.monotonic()
    with Nodes.connect(addresses(config, node), tls()) as nodes, opened(file) as source:
        with bar("restore") as progress:
            restored = bring_in(source, nodes, progress)
        cluster = nodes.cluster.cluster
    seconds = round(time.monotonic() - began, 3)
    if as_json:
        counts = {
            "imported": restored.imported,
            "present": restored.present,
            "was_done": restored.was_done,
            "resumed_at_chunk": restored.resumed_at,
            "seconds": seconds,
        }
        print(json.dumps({"backup_id": restored.backup.backup_id, **counts}))
    elif restored.was_done:
        print(f"{file} was restored to {cluster} before: nothing was done")
    else:
        again = f", {restored.present:,} stood there already" if restored.present else ""
        print(f"{restored.imported:,} rows restored to {cluster}{again}, in {seconds} s")


def _print(file: Path, taken: "Taken", as_json: bool, **more: Any) -> None:
    if as_json:
        print(json.dumps({"file": str(file), **record(taken), **more}))
    else:
        show(file, taken)


def show(file: Path, taken: "Taken") -> None:
    """For people: of what a backup is, and what it holds."""
    header = taken.header
    begun = datetime.fromtimestamp(header.begun_at_ms / 1_000, UTC).isoformat(" ", "seconds")
    identity = f", cluster_id {header.cluster_id}" if header.cluster_id else ""
    print(f"{file}: {header.origin} backup of {header.cluster}{identity}, begun {begun}")
    if header.successor_id:
        print(f'to be restored to a cluster with cluster_id = "{header.successor_id}"')
    print(
        f"id {taken.backup_id}, {taken.bytes:,} bytes, {header.slots} slots, "
        f"{taken.tally.bindings:,} bindings"
    )
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    console.print()
    console.print(_counts("TABLE", taken.tally.by_table))
    console.print()
    console.print(_groups(taken))


def record(taken: "Taken") -> dict[str, Any]:
    """For JSON."""
    from globaltable.backup.contents import counts

    return {
        "backup_id": taken.backup_id,
        "header": taken.header._asdict(),
        "bytes": taken.bytes,
        "rows": taken.tally.rows,
        "bindings": taken.tally.bindings,
        "tables": counts(taken.tally.by_table),
        "groups": {
            group: {**count, **taken.heads[int(group)]._asdict()}
            for group, count in counts(taken.tally.by_group).items()
        },
    }


def _counts(title: str, counts: "Mapping[str, Count]") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(title)
    for name in ("BINDINGS", "TOMBSTONES"):
        table.add_column(name, justify="right")
    for key, count in sorted(counts.items()):
        table.add_row(key, f"{count.bindings:,}", f"{count.tombstones:,}")
    return table


def _groups(taken: "Taken") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("GROUP")
    for name in ("BINDINGS", "TOMBSTONES", "REVISION", "TERM"):
        table.add_column(name, justify="right")
    table.add_column("FROM")
    for group, count in sorted(taken.tally.by_group.items()):
        head = taken.heads[group]
        numbers = (count.bindings, count.tombstones, head.revision, head.term)
        table.add_row(str(group), *(f"{number:,}" for number in numbers), head.node)
    return table
