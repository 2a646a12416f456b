"""`globaltable token`: a token that a client shows in the place of a certificate."""

import base64
import math
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

HOURS_MAX: Final = 8_784.0
"""A year."""


def token(
    key: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The key that signs, in PEM.", show_default=False),
    ],
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="The cluster's file.")
    ],
    client: Annotated[str, typer.Option("--client", metavar="NAME", help="Whose it is.")],
    key_id: Annotated[
        str, typer.Option("--key-id", metavar="ID", help="The key's name in the cluster's file.")
    ] = "k1",
    hours: Annotated[float, typer.Option("--hours", help="How long it is good.")] = 1.0,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make the key first; nothing must be there.")
    ] = False,
) -> None:
    """Print a token for a client, for development and small clusters.

    Whoever holds it is that client until it ends, so keep it like a key. With --new-key, what to
    put into the cluster's file is printed to stderr; send the nodes SIGHUP then. Nodes need no
    other part of the key: keep FILE away from them.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from globaltable.admin.tokens import issue, load_key, make_key
    from globaltable.server import config_file
    from globaltable.toml_section import as_name

    if not (0 < hours <= HOURS_MAX and math.isfinite(hours)):
        raise typer.BadParameter(f"{hours} is not a number of hours above 0 and up to {HOURS_MAX}")
    name, named = as_name("--client", client), as_name("--key-id", key_id)
    loaded = config_file.load(config)
    signing = make_key(key) if new_key else load_key(key)
    public = signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    if new_key:
        line = f'{named} = "{base64.b64encode(public).decode()}"'
        print(f"Put this into {config}:\n\n[tokens.keys]\n{line}\n", file=sys.stderr)
    elif loaded.security.token_keys.get(named) != public:
        print(
            f"warning: {config} has no key {named!r} in [tokens.keys] that is this one's: its "
            "nodes will not believe the token",
            file=sys.stderr,
        )
    print(issue(signing, named, name, loaded.fence, hours * 3_600.0))
