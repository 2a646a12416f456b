"""The bench's command line: which scenarios, over which network, and where the results go.

What was measured is kept whatever happens after it: a scenario that fails is named in the report,
and the others are played and reported. Exit status: 0, or 1 if one failed, or 2 for wrong usage.
"""

import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Final

from globaltable.bench import machine, results
from globaltable.bench.network import Network, open_network
from globaltable.bench.report import page, terminal
from globaltable.bench.results import Measurement, Report
from globaltable.bench.round_trips import RoundTrips
from globaltable.bench.scenarios.registry import SCENARIOS
from globaltable.bench.scenarios.scenario import CannotMeasure, Scenario, Stage
from globaltable.errors import GlobalTableError

ALL: Final = "all"
REPORT: Final = "report"
_COMMAND: Final = "python -m globaltable.bench"


def parser() -> ArgumentParser:
    top = ArgumentParser(
        prog=_COMMAND,
        description="Measures GlobalTable on this machine: real nodes, a network with injected\n"
        "round trips, load from processes of their own.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    for scenario in SCENARIOS:
        own = commands.add_parser(
            scenario.name, help=scenario.summary, description=scenario.summary
        )
        scenario.add_options(own)
        _add_common(own)
    every = commands.add_parser(
        ALL,
        help="each of them, shortly; compare in full",
        description="Each scenario with few repeats, compare with as many as are asked for.",
    )
    _add_common(every, repeats=5)
    again = commands.add_parser(
        REPORT, help="from a results file", description="Print a results file, or make its page."
    )
    again.add_argument("results", type=Path, metavar="FILE")
    again.add_argument("--html", type=Path, metavar="FILE")
    return top


def _add_common(own: ArgumentParser, repeats: int = 3) -> None:
    own.add_argument("--repeats", type=int, default=repeats, help="medians over (%(default)s)")
    own.add_argument(
        "--regions", type=lambda text: text.split(","), default=["a", "b", "c"], help="(a,b,c)"
    )
    own.add_argument(
        "--round-trip-ms", type=float, default=10.0, help="between any two (%(default)s)"
    )
    own.add_argument(
        "--pairs", type=_pairs, default={}, metavar="a-b=5,a-c=25,b-c=28", help="of their own"
    )
    own.add_argument(
        "--network",
        choices=["auto", "namespaces", "injected"],
        default="auto",
        help="namespaces need root and work for every system; injected is GlobalTable's own delay",
    )
    own.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    own.add_argument("--html", type=Path, metavar="FILE", help="write the report there, one page")


def _pairs(text: str) -> dict[frozenset[str], float]:
    pairs = {}
    for part in text.split(","):
        names, _, value_ms = part.partition("=")
        a, _, b = names.partition("-")
        if not a or not b:
            raise ValueError(part)
        pairs[frozenset((a, b))] = float(value_ms)
    return pairs


_pairs.__name__ = "list of pairs"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    try:
        if options.scenario == REPORT:
            report = results.load(options.results)
            failed = False
        else:
            report, failed = _measured(options, shlex.join([*_COMMAND.split(), *words]))
    except (GlobalTableError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    terminal.show(report)
    if options.html:
        page.write(report, options.html)
    return int(failed)


def _measured(options: Namespace, command: str) -> tuple[Report, bool]:
    round_trips = RoundTrips(options.round_trip_ms, options.pairs)
    round_trips.check(options.regions)
    before = machine.describe()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    measurements: list[Measurement] = []
    skipped: list[str] = []
    failed = False
    with open_network(options.regions, round_trips, options.network) as network:

        def report() -> Report:
            return Report(
                machine=before,
                command=command,
                started_at=started_at,
                network=network.kind,
                regions=network.regions,
                round_trips_ms=_by_pair(network),
                pings=stage.pings,
                measurements=tuple(measurements),
                skipped=(*stage.failures, *skipped),
            )

        def keep(measurement: Measurement) -> None:
            measurements.append(measurement)
            if options.json:
                results.save(report(), options.json)

        stage = Stage(network, options.repeats, _say)
        stage.ping()
        for scenario, own_stage, own in _programme(options, stage):
            try:
                for measurement in scenario.measure(own_stage, own):
                    keep(measurement)
            except CannotMeasure as error:
                skipped.append(str(error))
            except GlobalTableError as error:
                failed = True
                skipped.append(f"{scenario.name} failed: {error}")
                _say(skipped[-1])
            except KeyboardInterrupt:
                failed = True
                skipped.append(f"{scenario.name} was interrupted, and what comes after it")
                break
        if options.json:
            results.save(report(), options.json)
        return report(), failed or bool(stage.failures)


def _programme(options: Namespace, stage: Stage) -> list[tuple[Scenario, Stage, Namespace]]:
    """What is played, on which stage, with which options."""
    if options.scenario != ALL:
        (scenario,) = (one for one in SCENARIOS if one.name == options.scenario)
        return [(scenario, stage, options)]
    programme = []
    for scenario in SCENARIOS:
        own = ArgumentParser()
        scenario.add_options(own)
        repeats = min(options.repeats, scenario.repeats_in_all or options.repeats)
        programme.append((scenario, stage.with_repeats(repeats), own.parse_args(scenario.short)))
    return programme


def _by_pair(network: Network) -> dict[str, float]:
    return {f"{a}-{b}": network.round_trip_ms(a, b) for a, b in combinations(network.regions, 2)}


def _say(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)
