"""The command's parts put together, and what becomes of errors: one line, and an exit status."""

import os
import sys
from typing import Annotated, Any

import typer

import globaltable
from globaltable.cli import (
    backup,
    cert,
    check,
    demo,
    drain,
    geo,
    groups,
    header_keys,
    health,
    member,
    node,
    plan,
    rebuild,
    recover,
    route_move,
    router,
    routes,
    sessions,
    status,
    token,
    top,
    upgrade,
)
from globaltable.cli.examples import show_in_help
from globaltable.cli.exits import ExitStatus, status_of
from globaltable.cli.tls import Ca, Cert, CertKey, remember
from globaltable.errors import GlobalTableError

EPILOG = (
    "Exit status: 0 done; 1 rejected, or the key is not bound; 2 wrong usage or configuration; "
    "3 unavailable, a retry is safe; 4 the outcome is unknown; 5 anything else."
)

app = typer.Typer(
    name="globaltable",
    help="Keeps each session in exactly one unit, across regions.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"globaltable {globaltable.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    ca: Ca = None,
    cert: Cert = None,
    key: CertKey = None,
) -> None:
    # What gRPC would print of handshakes that fail, errors tell.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    remember(ca, cert, key)


for _command in (
    node.node,
    rebuild.rebuild,
    demo.demo,
    sessions.bind,
    sessions.create,
    sessions.get,
    sessions.move,
    sessions.unbind,
    sessions.scan,
    sessions.watch,
    status.status,
    health.health,
    top.top,
    plan.plan,
    backup.backup,
    backup.verify,
    backup.restore,
    check.check,
    recover.recover,
    upgrade.upgrade,
    drain.drain,
    router.router,
    router.agent,
    routes.resolve,
    cert.cert,
    token.token,
):
    app.command()(_command)
app.add_typer(member.member)
app.add_typer(groups.groups)
app.add_typer(groups.slots)
app.add_typer(routes.policy)
app.add_typer(routes.unit)
app.add_typer(route_move.route)
app.add_typer(header_keys.keys)
app.add_typer(geo.geo)
show_in_help(app)


def run(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    try:
        app(arguments, standalone_mode=True)
    except GlobalTableError as error:
        _complain(error)
        return status_of(error)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "globaltable":
            raise
        extra = "routing" if (error.name or "").startswith("nacl") else "server"
        _complain(f"{error.name} is not installed; pip install 'globaltable[{extra}]'")
        return ExitStatus.FAILED
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except SystemExit as end:
        return _exit_code(end.code)
    return ExitStatus.OK


def _exit_code(code: Any) -> int:
    return code if isinstance(code, int) else ExitStatus.OK if code is None else ExitStatus.FAILED


def _complain(what: object) -> None:
    print(f"globaltable: {what}", file=sys.stderr)
