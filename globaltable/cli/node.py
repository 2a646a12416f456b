"""`globaltable node`: run one region node until it is told to stop."""

from pathlib import Path
from typing import Annotated

import typer


def node(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="The file that all nodes share."),
    ],
    region: Annotated[
        str, typer.Option("--region", "-r", metavar="NAME", help="The region this node is in.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the configuration, then end.")
    ] = False,
) -> None:
    """Run one region node.

    It serves until SIGTERM or SIGINT, then hands its leadership over, finishes what is under way,
    and ends. Logs go to stderr. See config.example.toml for the configuration.
    """
    from globaltable.server import config_file

    loaded = config_file.load(config)
    own = loaded.region(region)
    if check:
        print(f"{config}: region {own.name} of cluster {loaded.cluster} is well configured")
        return
    from globaltable.server.node import run

    run(loaded, region)
