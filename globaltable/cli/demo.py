"""`globaltable demo`: the whole main job on this machine, in a minute."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    sessions: Annotated[
        int, typer.Option(metavar="N", min=1, help="Sessions to bind, each from every region.")
    ] = 10_000,
    round_trip_ms: Annotated[
        float,
        typer.Option(metavar="MS", min=0.0, max=1_000.0, help="Injected between any two regions."),
    ] = 10.0,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the figures there too.", show_default=False
        ),
    ] = None,
    console: Annotated[
        bool,
        typer.Option(
            "--console",
            help="Have each node serve its console, a page for browsers, and keep them until "
            "Control-C.",
        ),
    ] = False,
) -> None:
    """Start three region nodes, race binds from all three, kill one, and check every binding.

    The nodes are processes on 127.0.0.1 with their data in a temporary directory. Exit status 1 if
    any session was bound twice or lost, or the replicas differ.
    """
    from globaltable.demo.run import run

    raise typer.Exit(run(sessions, round_trip_ms, json_file, console=console))
