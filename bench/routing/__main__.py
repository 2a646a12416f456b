"""`python -m globaltable.bench.routing COMMAND`: measure one part of routing, and print it.

A command is a module with a `SUMMARY`, `add_options(parser)` and `run(options)`, which returns the
exit status.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Final, Protocol

from globaltable.bench.routing import everything, headers, moves, push, resolve, zipf


class Command(Protocol):
    """What a module of this package offers."""

    @property
    def SUMMARY(self) -> str: ...  # noqa: N802

    def add_options(self, parser: ArgumentParser) -> None: ...

    def run(self, options: Namespace) -> int: ...


COMMANDS: Final[dict[str, Command]] = {
    "all": everything,
    "headers": headers,
    "moves": moves,
    "push": push,
    "resolve": resolve,
    "zipf": zipf,
}


def main(arguments: Sequence[str] | None = None) -> int:
    top = ArgumentParser(prog="python -m globaltable.bench.routing", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        command.add_options(own)
    options = top.parse_args(arguments)
    return COMMANDS[options.command].run(options)


if __name__ == "__main__":
    sys.exit(main())
