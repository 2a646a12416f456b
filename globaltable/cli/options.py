"""Options that several commands share, and the client they ask through."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from globaltable.cli.tls import tls

if TYPE_CHECKING:
    from globaltable.client import SyncGlobalTable

ENDPOINTS_DEFAULT: Final = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"

Endpoints = Annotated[
    str,
    typer.Option(
        "--endpoints",
        "-e",
        envvar="GLOBALTABLE_ENDPOINTS",
        metavar="HOST:PORT,...",
        help="Nodes to ask; the nearest that is up is used.",
    ),
]
TableName = Annotated[
    str,
    typer.Option(
        "--table",
        "-t",
        envvar="GLOBALTABLE_TABLE",
        metavar="NAME",
        help="The table, as in im.session.",
    ),
]
TimeoutS = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", help="For the whole command, retries and all."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The session's id.", show_default=False)]
Version = Annotated[
    int,
    typer.Option("--version", metavar="N", help="The version you decided on.", show_default=False),
]


def addresses_of(endpoints: str) -> list[str]:
    return [address.strip() for address in endpoints.split(",") if address.strip()]


@contextmanager
def connected(endpoints: str, table: str, timeout_s: float) -> "Iterator[SyncGlobalTable]":
    """A client of the table, for one command."""
    # Imported here, so that --help need not wait for gRPC.
    from globaltable.client import SyncGlobalTable

    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise typer.BadParameter(f"{timeout_s} is not a number of seconds above 0")
    with SyncGlobalTable.connect(
        addresses_of(endpoints), table=table, timeout=timeout_s, tls=tls()
    ) as client:
        yield client
