"""Local reads: one key a call, and many."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Final

from globaltable.bench import workers
from globaltable.bench.activities.gets import GET, Gets
from globaltable.bench.results import Case, Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage, percentiles_of
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem

NAME: Final = "reads"
SINGLE: Final = "single"
BATCHED: Final = "batched"
_PATIENCE_S: Final = 120.0


def _measure(
    stage: Stage, running: GlobalTableRunning, what: str, gets: Gets, repeat: int
) -> Measurement:
    region = stage.network.regions[0]
    placement = workers.Placement(region, running.target(region), gets)
    timeout_s = gets.seconds + _PATIENCE_S
    found = workers.run(stage.network, stage.label("gets"), [placement], timeout_s)[region]
    figures = {
        "keys_per_s": found.rate_per_s((0.1 * gets.seconds, 0.9 * gets.seconds)),
        "client_cpu_share": found.cpu_share,
        **percentiles_of(found.latencies[GET]),
    }
    case: Case = {"load": what, "batch": gets.batch, "callers": gets.callers}
    return Measurement(
        NAME, GlobalTableSystem.name, case, repeat, figures, {region: found.latencies[GET]}
    )


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    with GlobalTableSystem().start(stage.network) as running:
        for repeat in range(stage.repeats):
            stage.say(f"{NAME} {repeat + 1}/{stage.repeats}")
            single = Gets(options.keys, 1, 1, options.seconds)
            yield _measure(stage, running, SINGLE, single, repeat)
            batched = Gets(options.keys, options.batch, options.callers, options.seconds)
            yield _measure(stage, running, BATCHED, batched, repeat)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--keys", type=int, default=2_000, help="bound before (%(default)s)")
    parser.add_argument("--batch", type=int, default=200, help="keys a call (%(default)s)")
    parser.add_argument(
        "--callers", type=int, default=4, help="of the batched reads, one process (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each (%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "local reads from one process of one node: one key a call, and batches",
    measure,
    add_options,
    short=("--seconds", "2"),
)
