"""All figures of routing in one run, each beside its goal.

The commands run one after the other with their own defaults, or with `--quick` so small that they
show only that all of it works. What each wrote down is kept in one JSON file.
"""

import json
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Final

from globaltable.bench.routing import goals, headers, moves, push, resolve, zipf

SUMMARY: Final = "all figures of routing, beside their goals"

_COMMANDS: Final = (headers, resolve, zipf, moves, push)
_QUICK: Final = {
    headers: ("--seconds", "0.02", "--routes", "100"),
    resolve: ("--seconds", "0.02", "--routes", "100"),
    zipf: ("--messages", "3000", "--sessions", "300", "--moves", "60"),
    moves: ("--sessions", "100"),
    push: ("--clients", "20", "--moves", "3", "--pause", "0.3"),
}


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="small: figures that say nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these commands")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(options: Namespace) -> int:
    found: dict[str, Any] = {}
    status = 0
    for command in _COMMANDS:
        name = command.__name__.rpartition(".")[2]
        if options.only and name not in options.only:
            continue
        print(f"\n{name}: {command.SUMMARY}\n", flush=True)
        parser = ArgumentParser(prog=name)
        command.add_options(parser)
        with tempfile.TemporaryDirectory(prefix="globaltable-routing-") as directory:
            path = Path(directory) / "found.json"
            words = [*(_QUICK[command] if options.quick else ()), "--json", str(path)]
            status |= command.run(parser.parse_args(words))
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    print(f"\n{'GOAL':66}{'WANTED':22}SEEN")
    for goal in goals.goals(found):
        verdict = "met" if goal.met else "missed"
        print(f"{goal.what:66}{goal.wanted:22}{goal.measured}  {verdict}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return status
