"""`globaltable router` and `globaltable agent`: serve routes, to a region or to one application."""

from pathlib import Path
from typing import Annotated, Final

import typer

ROUTER_DEFAULT: Final = "127.0.0.1:7301"
AGENT_DEFAULT: Final = "127.0.0.1:7302"

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="What is routed, and how.")
]
Listen = Annotated[
    str, typer.Option("--listen", "-l", metavar="HOST:PORT|unix:PATH", help="Where to serve.")
]
OnlyCheck = Annotated[bool, typer.Option("--check", help="Only check the configuration, then end.")]


def router(config: ConfigFile, listen: Listen = ROUTER_DEFAULT, check: OnlyCheck = False) -> None:
    """Serve the routes of a region: which unit has a key, and changes as they happen.

    It serves until SIGTERM or SIGINT, and starts whether or not GlobalTable can be reached. Logs go
    to stderr. See routing.example.toml for the configuration.
    """
    _serve(config, listen, check)


def agent(config: ConfigFile, listen: Listen = AGENT_DEFAULT, check: OnlyCheck = False) -> None:
    """Serve routes to the application on this machine, in whatever language it is written.

    The same service as of a router, with a cache of its own: what it knows it answers without the
    network, and goes on with if nobody else can be reached.
    """
    if not listen.startswith(("unix:", "127.", "localhost:", "[::1]:")):
        raise typer.BadParameter(
            f"{listen} is not on this machine alone; give unix:PATH or 127.0.0.1:PORT"
        )
    _serve(config, listen, check)


def _serve(path: Path, listen: str, check: bool) -> None:
    from globaltable.routing import config

    loaded = config.load(path)
    if check:
        print(f"{path}: {len(loaded.dimensions)} dimensions are well configured")
        return
    from globaltable.routing.service.serving import run
    from globaltable.server.logs import configure_logs

    configure_logs("info", "json")
    run(loaded, listen)
