"""An example or more of each command, shown at the end of its `--help`.

Invariant: every command has one, and each is taken by the command it is of (`tests/cli`).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from typer import Typer
from typer.models import CommandInfo

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "agent": ("--config routing.toml --listen 127.0.0.1:7301",),
    "backup": ("bindings.backup --config cluster.toml", "bindings.backup --node 10.1.0.1:7101"),
    "bind": ("cid:1001 A --table im.session", "cid:1001 A -t im.session --json"),
    "cert": ("certificates --config cluster.toml", "certificates -c cluster.toml --client web"),
    "check": ("--config cluster.toml",),
    "create": ("A --table im.session --prefix cid:",),
    "demo": ("", "--sessions 1500 --round-trip-ms 30", "--console"),
    "drain": ("shanghai", "shanghai --undo"),
    "geo list": ("",),
    "geo regions": ("eu frankfurt,paris,dublin",),
    "get": ("cid:1001 --table im.session", "cid:1001 -t im.session --linearizable"),
    "groups grow": ("--to 12",),
    "health": ("127.0.0.1:7101",),
    "keys list": ("--audience im/chat",),
    "keys new-root": ("roots",),
    "keys revoke": ("7 --audience im/chat",),
    "member add": (
        "--name hangzhou --region hangzhou --peer 10.4.0.1:7201 --client 10.4.0.1:7101",
    ),
    "member list": ("", "--json"),
    "member remove": ("shenzhen",),
    "member replace": (
        "shanghai --name suzhou --region suzhou --peer 10.5.0.1:7201 --client 10.5.0.1:7101",
    ),
    "member replicas": ("5",),
    "move": ("cid:1001 B --version 1 --table im.session",),
    "node": (
        "--config cluster.toml --node beijing",
        "--config cluster.toml --node beijing --check",
        "--config cluster.toml --node hangzhou --join",
    ),
    "plan": ("", "--apply", "--config cluster.toml"),
    "policy get": ("new-chats",),
    "policy set": ("new-chats policy.json --version 0",),
    "rebuild": (
        "--config cluster.toml --node shanghai",
        "--config cluster.toml --node shanghai --all",
    ),
    "recover": ("survivors.backup --config cluster.toml --node beijing",),
    "resolve": ("chat cid:1001 --region beijing", "user bj.1001"),
    "restore": ("bindings.backup --config new.toml",),
    "route move": ("--session cid:1001 --to B", "--unit A --to spread", "--status"),
    "router": ("--config routing.toml",),
    "scan": ("--table im.session --prefix cid:", "-t im.session --json"),
    "slots deal": ("",),
    "slots list": ("",),
    "slots move": ("5,8-11 --to 2",),
    "slots undo": ("",),
    "slots wait": ("",),
    "status": ("", "--endpoints 10.1.0.1:7101,10.2.0.1:7101 --json"),
    "top": ("", "--once --interval 5", "--endpoints 10.1.0.1:7101,10.2.0.1:7101 --groups 20"),
    "token": (
        "token-key.pem --config cluster.toml --client web",
        "token-key.pem -c cluster.toml --client web --new-key --hours 8",
    ),
    "unbind": ("cid:1001 --version 2 --table im.session",),
    "unit drain": ("bj-1",),
    "unit list": ("",),
    "unit serve": ("bj-1",),
    "upgrade": ("", "--finalize"),
    "verify": ("bindings.backup",),
    "watch": ("--table im.session --prefix cid:", "-t im.session --key cid:1001 --count 1"),
}


def show_in_help(app: Typer) -> None:
    """Append them to the help of every command that has been registered."""
    for path, command in _commands(app):
        # Paragraphs: a single line break is none in a help's epilog.
        lines = [f"globaltable {path} {line}".rstrip() for line in EXAMPLES.get(path, ())]
        if lines:
            command.epilog = "\n\n".join(["Examples:", *lines])


def _commands(app: Typer, above: str = "") -> Iterator[tuple[str, CommandInfo]]:
    for command in app.registered_commands:
        assert command.callback is not None
        own = command.name or command.callback.__name__.replace("_", "-")
        yield above + own, command
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, f"{above}{group.typer_instance.info.name} ")
