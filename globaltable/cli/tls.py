"""The certificate that commands show to nodes: options of `globaltable`, before the command."""

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from globaltable.client import TlsConfig

_GIVEN: Final[ContextVar[tuple[Path, ...]]] = ContextVar("tls", default=())

Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="GLOBALTABLE_CA",
        metavar="FILE",
        help="PEM: the CAs that sign nodes' certificates. Without, in the clear.",
        show_default=False,
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        envvar="GLOBALTABLE_CERT",
        metavar="FILE",
        help="PEM: the certificate that says who you are.",
        show_default=False,
    ),
]
CertKey = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="GLOBALTABLE_KEY",
        metavar="FILE",
        help="PEM: its key.",
        show_default=False,
    ),
]


def remember(ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """Keep the options for the command that follows. Raises `BadParameter` if some are missing."""
    given = [path for path in (ca, cert, key) if path is not None]
    if given and len(given) < 3:
        raise typer.BadParameter(
            "--ca, --cert and --key (GLOBALTABLE_CA, GLOBALTABLE_CERT, GLOBALTABLE_KEY) go "
            "together: give all three, or none"
        )
    _GIVEN.set(tuple(given))


def tls() -> "TlsConfig | None":
    """What this command was given to show; None to go in the clear."""
    from globaltable.client import TlsConfig

    given = _GIVEN.get()
    return TlsConfig(*given) if given else None
