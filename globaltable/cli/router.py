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


Roots = Annotated[
    Path | None,
    typer.Option(
        "--roots",
        metavar="FILE",
        help="Root secrets, one a line: routes are signed by keys made of them.",
        show_default=False,
    ),
]
AlgorithmName = Annotated[
    str, typer.Option("--algorithm", metavar="NAME", help="Of those keys: ed25519, hmac.")
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--keep",
        metavar="FILE",
        help="Where routes are kept for the next start.",
        show_default=False,
    ),
]


def router(
    config: ConfigFile,
    listen: Listen = ROUTER_DEFAULT,
    roots: Roots = None,
    algorithm: AlgorithmName = "ed25519",
    keep: Kept = None,
    check: OnlyCheck = False,
) -> None:
    """Serve the routes of a region: which unit has a key, and changes as they happen.

    It serves until SIGTERM or SIGINT, and starts whether or not GlobalTable can be reached. Logs go
    to stderr. See routing.example.toml for the configuration.
    """
    _serve(config, listen, roots, algorithm, keep, check)


def agent(
    config: ConfigFile,
    listen: Listen = AGENT_DEFAULT,
    roots: Roots = None,
    algorithm: AlgorithmName = "ed25519",
    keep: Kept = None,
    check: OnlyCheck = False,
) -> None:
    """Serve routes to the application on this machine, in whatever language it is written.

    The same service as of a router, with a cache of its own: what it knows it answers without the
    network, and goes on with if nobody else can be reached.
    """
    if not listen.startswith(("unix:", "127.", "localhost:", "[::1]:")):
        raise typer.BadParameter(
            f"{listen} is not on this machine alone; give unix:PATH or 127.0.0.1:PORT"
        )
    _serve(config, listen, roots, algorithm, keep, check)


def _serve(
    path: Path,
    listen: str,
    roots_file: Path | None,
    algorithm_name: str,
    keep: Path | None,
    check: bool,
) -> None:
    from globaltable.routing import config
    from globaltable.routing.client import roots
    from globaltable.routing.client.keys import Rotation
    from globaltable.routing.signatures import Algorithm

    algorithms = {"ed25519": Algorithm.ED25519, "hmac": Algorithm.HMAC_SHA256_128}
    if algorithm_name not in algorithms:
        raise typer.BadParameter(f"--algorithm is {algorithm_name!r}; give ed25519 or hmac")
    loaded = config.load(path)
    secrets = roots.load(roots_file) if roots_file is not None else ()
    if check:
        print(f"{path}: {len(loaded.dimensions)} dimensions are well configured")
        return
    from globaltable.routing.service.serving import Serving, run
    from globaltable.server.logs import configure_logs

    configure_logs("info", "json")
    rotation = Rotation(algorithms[algorithm_name]) if secrets else None
    run(lambda: Serving(loaded, listen, rotation=rotation, roots=secrets, kept_in=keep))
