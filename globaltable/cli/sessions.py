"""The commands that ask about sessions: bind, create, get, move, unbind, scan, watch."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import (
    ENDPOINTS_DEFAULT,
    AsJson,
    Endpoints,
    Key,
    TableName,
    TimeoutS,
    Version,
    connected,
)

if TYPE_CHECKING:
    from globaltable.client import Change
    from globaltable.model import Binding

Unit = Annotated[str, typer.Argument(metavar="UNIT", help="The unit wanted.", show_default=False)]
Prefix = Annotated[str, typer.Option("--prefix", "-p", help="Only keys that begin with this.")]


def bind(
    key: Key,
    unit: Unit,
    table: TableName,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Bind KEY to UNIT if it is not bound yet, and print where it lives from now on.

    Of all that bind one key at once, in any region, exactly one wins; the others are told who did.
    """
    with connected(endpoints, table, timeout_s) as client:
        binding = client.bind(key, unit)
    if as_json:
        _print_json(_record(key, binding) | {"created": binding.created})
    else:
        how = "created" if binding.created else "was bound already"
        print(f"{_line(key, binding)}  {how}")


def create(
    unit: Unit,
    table: TableName,
    prefix: Annotated[
        str, typer.Option("--prefix", "-p", help="What the new key begins with.")
    ] = "",
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Bind a fresh key to UNIT, and print it: one that is bound soonest from the nearest node."""
    with connected(endpoints, table, timeout_s) as client:
        key, binding = client.create(unit, prefix=prefix)
    if as_json:
        _print_json(_record(key, binding) | {"created": binding.created})
    else:
        print(_line(key, binding))


def get(
    key: Key,
    table: TableName,
    linearizable: Annotated[
        bool,
        typer.Option(
            "--linearizable",
            "-l",
            help="No older than this call; costs a round trip between regions.",
        ),
    ] = False,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Print the unit KEY is bound to. Exit status 1 if it is not bound."""
    with connected(endpoints, table, timeout_s) as client:
        binding = client.get(key, linearizable=linearizable)
    if binding is None:
        print(f"globaltable: {key!r} is not bound", file=sys.stderr)
        raise typer.Exit(ExitStatus.REJECTED)
    if as_json:
        _print_json(_record(key, binding))
    else:
        print(_line(key, binding))


def move(
    key: Key,
    to: Annotated[
        str, typer.Argument(metavar="UNIT", help="The unit to move to.", show_default=False)
    ],
    version: Version,
    table: TableName,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Bind KEY to another UNIT, if it is still at the version you hold."""
    with connected(endpoints, table, timeout_s) as client:
        binding = client.move(key, to=to, version=version)
    if as_json:
        _print_json(_record(key, binding))
    else:
        print(_line(key, binding))


def unbind(
    key: Key,
    version: Version,
    table: TableName,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: TimeoutS = 5.0,
) -> None:
    """Remove KEY's binding, if it is still at the version you hold."""
    with connected(endpoints, table, timeout_s) as client:
        client.unbind(key, version=version)


def scan(
    table: TableName,
    prefix: Prefix = "",
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="For each page.")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Print every binding, from the nearest node's own replicas, in no meaningful order."""
    with connected(endpoints, table, timeout_s) as client:
        for key, binding in client.scan(prefix=prefix):
            if as_json:
                _print_json(_record(key, binding))
            else:
                print(_line(key, binding))


def watch(
    table: TableName,
    key: Annotated[
        str | None, typer.Option("--key", "-k", help="Only this key.", show_default=False)
    ] = None,
    prefix: Prefix = "",
    after: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION",
            help="Changes behind this position, as --json prints one; else from now on.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="End after N changes.", show_default=False),
    ] = None,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="To get started.")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Print changes as they happen, each one once, in the order of each group. Ends at Ctrl-C.

    It survives the loss of the node it reads from.
    """
    if key is not None and prefix:
        raise typer.BadParameter("give --key or --prefix, not both")
    position = None if after is None else _position(after)
    seen = 0
    with (
        connected(endpoints, table, timeout_s) as client,
        client.watch(key=key, prefix=prefix, after=position) as changes,
    ):
        for change in changes:
            print(
                _change_json(change, changes.position) if as_json else _change(change), flush=True
            )
            seen += 1
            if seen == count:
                break


def _position(text: str) -> dict[int, int]:
    try:
        return {int(group): int(revision) for group, revision in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise typer.BadParameter(
            f'--after is {text!r}; give a JSON object of group to revision, as in {{"0": 17}}'
        ) from error


def _line(key: str, binding: "Binding") -> str:
    return f"{key}  {binding.unit}  version {binding.version}"


def _record(key: str, binding: "Binding") -> dict[str, Any]:
    return {
        "key": key,
        "unit": binding.unit,
        "version": binding.version,
        "revision": binding.revision,
    }


def _change(change: "Change") -> str:
    return f"{change.kind.name.lower():<7}  {change.key}  {change.unit}  version {change.version}"


def _change_json(change: "Change", position: dict[int, int]) -> str:
    return json.dumps(
        {
            "kind": change.kind.name.lower(),
            "key": change.key,
            "unit": change.unit,
            "version": change.version,
            "group": change.group,
            "revision": change.revision,
            "position": position,
        }
    )


def _print_json(value: object) -> None:
    print(json.dumps(value))
