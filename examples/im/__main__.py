"""`python -m examples.im`: the demo. Exit status 1 if a promise was broken."""

import sys
from argparse import ArgumentParser

from rich.console import Console

from examples.im.demo import Size, run
from examples.im.report import print_report


def main() -> int:
    parser = ArgumentParser(prog="python -m examples.im", description=__doc__)
    parser.add_argument("--chats", type=int, default=Size().chats, help="(%(default)s)")
    parser.add_argument("--messages", type=int, default=Size().messages, help="(%(default)s)")
    options = parser.parse_args()
    console = Console(highlight=False)
    figures = run(Size(chats=options.chats, messages=options.messages), console)
    print_report(console, figures)
    return 0 if figures.hold else 1


if __name__ == "__main__":
    sys.exit(main())
