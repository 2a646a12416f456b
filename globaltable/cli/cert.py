"""`globaltable cert`: a CA, and certificates for the nodes of a cluster and its clients."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from globaltable.server.security import Security

DAYS_MAX: Final = 36_500
_ADMIN: Final = "admin"
"""The client that is made if none is named, and suggested to be permitted everything."""


def cert(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where they go.", show_default=False)
    ],
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", metavar="FILE", help="The cluster's file, with TLS or without yet."
        ),
    ],
    client: Annotated[
        list[str] | None,
        typer.Option(
            "--client", metavar="NAME", help="A client; repeat it for more.", show_default=False
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Another name or address that nodes are reached at; repeat it for more.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[float, typer.Option("--days", help="How long certificates are good.")] = 365.0,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make new ones where there are some; not the CA.")
    ] = False,
) -> None:
    """Make certificates for development and small clusters, and print what to put into the file.

    What is there already stays, so further clients can be added. Running nodes take up what is
    renewed by themselves. Keep ca-key.pem away from the nodes: who has it is anybody.
    """
    from globaltable.admin.certificates import make_set
    from globaltable.server import config_file
    from globaltable.server.config_security import render_security
    from globaltable.toml_section import as_name

    if not (0 < days <= DAYS_MAX and math.isfinite(days)):
        raise typer.BadParameter(f"{days} is not a number of days above 0 and up to {DAYS_MAX}")
    clients = [as_name("--client", name) for name in client or [_ADMIN]]
    loaded = config_file.load(config)
    made = make_set(directory, loaded, clients, hosts=host or (), days=days, renew=renew)
    for one in made:
        what = "made" if one.is_new else "stands"
        print(f"{what:6} {one.files.cert}  {one.identity}")
    if loaded.security.tls is None:
        print(f"\nPut this into {config}:\n")
        print(render_security(_suggested(directory.absolute(), clients)))
    first = made[-len(clients)].files
    print("\nClients show theirs:\n")
    print(f"export GLOBALTABLE_CA={directory.absolute() / 'ca.pem'}")
    print(f"export GLOBALTABLE_CERT={first.cert.absolute()}")
    print(f"export GLOBALTABLE_KEY={first.key.absolute()}")


def _suggested(directory: Path, clients: list[str]) -> "Security":
    """For the file, to be edited: what the cluster's clients are likely to need."""
    from globaltable.server.security import ALL_TABLES, Permission, Right, Security, TlsFiles

    files = TlsFiles(
        directory / "ca.pem", directory / "node-{node}.pem", directory / "node-{node}-key.pem"
    )
    on_tables = frozenset((Right.READ, Right.BIND, Right.MOVE))
    permissions = [Permission(tuple(clients), on_tables, (ALL_TABLES,))]
    if _ADMIN in clients:
        permissions.append(Permission((_ADMIN,), frozenset((Right.ADMIN,))))
    return Security(tls=files, permissions=tuple(permissions))
