"""`globaltable keys`: the keys that sign route headers, and the root secret they are made of."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import ENDPOINTS_DEFAULT, AsJson, Endpoints, TimeoutS, connected

if TYPE_CHECKING:
    from globaltable.routing.keyring import KeyRecord

META_TABLE: Final = "routing.meta"

keys = typer.Typer(
    name="keys",
    help="The keys that sign route headers: list, revoke; and their root secret.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Audience = Annotated[
    str,
    typer.Option(
        "--audience", "-a", metavar="NAME", help="Whose keys: the namespace of the routing."
    ),
]


@keys.command("new-root")
def new_root(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
) -> None:
    """Add a root secret to FILE, which is made if it is not there, for its owner's eyes only.

    New keys are made of the first line; those of all lines count. To replace a root, add the new
    one everywhere, then put it first everywhere, and remove the old one once the keys of before are
    no longer listed.
    """
    from globaltable.routing.client import roots

    count = roots.add(file)
    print(f"{file} holds {count} root {'secrets' if count > 1 else 'secret'}")


@keys.command("list")
def list_keys(
    audience: Audience,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Print the keys of an audience: when each signs, and until when what it signed counts."""
    from rich.console import Console
    from rich.table import Table

    from globaltable.errors import Corrupt
    from globaltable.routing.keyring import decode_record, record_prefix

    found: list[KeyRecord] = []
    with connected(endpoints, META_TABLE, timeout_s) as client:
        for name, binding in client.scan(prefix=record_prefix(audience)):
            try:
                found.append(decode_record(audience, name, binding.unit))
            except Corrupt as error:
                print(f"globaltable: {error}", file=sys.stderr)
    now_s = time.time()
    table = Table("KEY", "ALGORITHM", "SIGNS FROM, UTC", "UNTIL", "COUNTS UNTIL", "NOW", box=None)
    for record in sorted(found, key=lambda one: one.key_id):
        times = (record.not_before_s, record.sign_until_s, record.verify_until_s)
        state = _state(record, now_s)
        if as_json:
            print(
                json.dumps(
                    {
                        "key": record.key_id,
                        "algorithm": record.algorithm.name,
                        "not_before_s": record.not_before_s,
                        "sign_until_s": record.sign_until_s,
                        "verify_until_s": record.verify_until_s,
                        "now": state,
                    }
                )
            )
        shown = (datetime.fromtimestamp(one, UTC).isoformat(" ", "seconds")[:19] for one in times)
        table.add_row(str(record.key_id), record.algorithm.name, *shown, state)
    if not as_json:
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
        console.print(table)


def _state(record: "KeyRecord", now_s: float) -> str:
    if now_s < record.not_before_s:
        return "waits"
    if now_s < record.sign_until_s:
        return "signs"
    return "counts" if now_s < record.verify_until_s else "over"


@keys.command()
def revoke(
    key: Annotated[int, typer.Argument(metavar="KEY", min=1, max=2**32 - 1, show_default=False)],
    audience: Audience,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
) -> None:
    """Remove KEY: what it has signed counts no more, wherever that is known.

    Where GlobalTable cannot be reached the key goes on counting. If a root secret is known to
    others, replace it first: whoever has it can sign with every key that was made of it.
    """
    from globaltable.routing.keyring import record_name

    name = record_name(audience, key)
    with connected(endpoints, META_TABLE, timeout_s) as client:
        binding = client.get(name, linearizable=True)
        if binding is None:
            print(f"globaltable: there is no key {key} of {audience!r}", file=sys.stderr)
            raise typer.Exit(ExitStatus.REJECTED)
        client.unbind(name, version=binding.version)
    print(f"key {key} of {audience} is revoked")
