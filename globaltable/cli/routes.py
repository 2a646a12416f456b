"""The commands that ask a router: resolve, policy get and set, unit list, drain and serve."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import AsJson, TimeoutS
from globaltable.cli.router import ROUTER_DEFAULT
from globaltable.cli.tls import tls

if TYPE_CHECKING:
    from globaltable.routing.client.asking import Asking

RouterAddress = Annotated[
    str,
    typer.Option(
        "--router",
        "-r",
        envvar="GLOBALTABLE_ROUTER",
        metavar="HOST:PORT|unix:PATH",
        help="The router, or agent, to ask.",
    ),
]
PolicyName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
UnitName = Annotated[str, typer.Argument(metavar="UNIT", show_default=False)]

_STATUSES: Final = {
    "no_home": ExitStatus.REJECTED,
    "not_bound": ExitStatus.REJECTED,
    "invalid_argument": ExitStatus.USAGE,
    "no_unit": ExitStatus.UNAVAILABLE,
    "unavailable": ExitStatus.UNAVAILABLE,
    "unknown": ExitStatus.UNKNOWN,
}

policy = typer.Typer(name="policy", help="Where new sessions go.", no_args_is_help=True)
unit = typer.Typer(name="unit", help="The units that sessions live in.", no_args_is_help=True)


@contextmanager
def _asking(router: str, timeout_s: float) -> "Iterator[Asking]":
    from globaltable.routing.client.asking import Asking

    with Asking(router, timeout_s, tls()) as asking:
        yield asking


def resolve(
    dimension: Annotated[str, typer.Argument(metavar="DIMENSION", show_default=False)],
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", show_default=False)],
    region: Annotated[str, typer.Option(help="Where the client is.")] = "",
    creator: Annotated[str, typer.Option(help="Who creates it: the key of a user.")] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute", "-a", metavar="NAME=VALUE", help="What a policy may ask for: tier=vip."
        ),
    ] = None,
    lookup: Annotated[bool, typer.Option("--lookup", help="Bind nothing.")] = False,
    router: RouterAddress = ROUTER_DEFAULT,
    timeout_s: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Print the unit of each KEY, in any layer; bind those of layer L2 that are not bound.

    Exit status: that of the first which has none.
    """
    attributes = dict(_pair(one) for one in attribute or [])
    status = ExitStatus.OK
    with _asking(router, timeout_s) as asking:
        for key, answer in zip(
            keys,
            asking.resolve(dimension, keys, region, creator, attributes, lookup=lookup),
            strict=True,
        ):
            if answer.failure:
                status = status or _STATUSES.get(answer.failure, ExitStatus.FAILED)
                print(f"globaltable: {key}: {answer.message}", file=sys.stderr)
            elif as_json:
                print(json.dumps(answer._asdict()))
            else:
                version = f"version {answer.version}" if answer.version else "by no binding"
                print(f"{key}  {answer.unit}  {version}  {answer.source}")
    if status:
        raise typer.Exit(status)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"--attribute is {text!r}; give NAME=VALUE")
    return name, value


@policy.command("get")
def get_policy(
    name: PolicyName,
    router: RouterAddress = ROUTER_DEFAULT,
    timeout_s: TimeoutS = 5.0,
) -> None:
    """Print a policy in JSON, and on stderr the version to set it by."""
    with _asking(router, timeout_s) as asking:
        text, version = asking.policy(name)
    print(json.dumps(json.loads(text), indent=2))
    print(f"version {version}", file=sys.stderr)


@policy.command("set")
def set_policy(
    name: PolicyName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy in JSON; - for stdin.")],
    version: Annotated[
        int, typer.Option(metavar="N", help="The version you decided on, as `policy get` says it.")
    ],
    router: RouterAddress = ROUTER_DEFAULT,
    timeout_s: TimeoutS = 5.0,
) -> None:
    """Set a policy for all routers, if it is still at the version you hold."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from error
    with _asking(router, timeout_s) as asking:
        _, version = asking.set_policy(name, text, version)
    print(f"{name}  version {version}")


@unit.command("list")
def list_units(
    router: RouterAddress = ROUTER_DEFAULT, timeout_s: TimeoutS = 5.0, as_json: AsJson = False
) -> None:
    """Print the units, and how they fare."""
    with _asking(router, timeout_s) as asking:
        units = asking.units()
    rows: list[dict[str, Any]] = [one._asdict() for one in units]
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        tags = f"  {', '.join(row['tags'])}" if row["tags"] else ""
        print(
            f"{row['name']:<{width}}  {row['state']:<9}  {row['region']}  "
            f"capacity {row['capacity']:g}{tags}"
        )


@unit.command("drain")
def drain_unit(
    name: UnitName, router: RouterAddress = ROUTER_DEFAULT, timeout_s: TimeoutS = 5.0
) -> None:
    """Give UNIT no new sessions. What it has stays there."""
    with _asking(router, timeout_s) as asking:
        asking.drain(name, serve=False)


@unit.command("serve")
def serve_unit(
    name: UnitName, router: RouterAddress = ROUTER_DEFAULT, timeout_s: TimeoutS = 5.0
) -> None:
    """Give UNIT new sessions again."""
    with _asking(router, timeout_s) as asking:
        asking.drain(name, serve=True)
