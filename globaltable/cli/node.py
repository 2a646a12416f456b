"""`globaltable node`: run one node until it is told to stop."""

from pathlib import Path
from typing import Annotated

import typer


def node(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="The file that all nodes share."),
    ],
    name: Annotated[
        str,
        typer.Option(
            "--node", "-n", metavar="NAME", help="Its name; the region's, if it is the only one."
        ),
    ],
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="It was added to a cluster that exists (globaltable member add): it waits for the "
            "others' word, and founds nothing. Later starts may leave this out.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the configuration, then end.")
    ] = False,
) -> None:
    """Run one node of a region.

    It serves until SIGTERM or SIGINT, then hands its leadership over, finishes what is under way,
    and ends. On SIGHUP it reads permissions and allowances anew. Logs go to stderr. See
    config.example.toml for the configuration.
    """
    from globaltable.server import config_file

    loaded = config_file.load(config)
    own = loaded.node(name)
    if check:
        from globaltable.server.tls import certificates_of

        certificates_of(loaded, name)
        print(f"{config}: node {own.name} of cluster {loaded.cluster} is well configured")
        return
    from globaltable.server.running import run

    run(loaded, name, join=join, reread=lambda: config_file.load(config))
