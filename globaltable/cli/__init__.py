"""The `globaltable` command. It asks through the client library; what serves is `server`'s."""

import sys


def main() -> None:
    """The command's entry: says what is missing if only the client library is installed."""
    try:
        from globaltable.cli.main import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit("globaltable: the command needs: pip install 'globaltable[cli]'")
    sys.exit(run())
