"""What watchers cost to whom nothing happens: the same load without them and with them, in turn."""

import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from globaltable.bench import workers
from globaltable.bench.activities.idle_watches import IdleWatches
from globaltable.bench.findings import Findings
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage
from globaltable.bench.scenarios.throughput import measure_closed
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem
from globaltable.errors import GlobalTableError

NAME: Final = "watchers"
_PATIENCE_S: Final = 60.0


class WatchesLost(GlobalTableError):
    """Watches ended while they were to be idle, so their cost was not measured."""


@contextlib.contextmanager
def watched(
    stage: Stage,
    running: GlobalTableRunning,
    watches: int,
    *,
    prefixes: bool = False,
    changes_per_s: float = 0.0,
) -> Iterator[None]:
    """With so many watches, shared out over the regions; still there at the end. Of their keys so
    many are bound a second, in all regions together."""
    regions = stage.network.regions
    shares = {
        region: watches // len(regions) + (number < watches % len(regions))
        for number, region in enumerate(regions)
    }
    placements = [
        workers.Placement(
            region,
            running.target(region),
            IdleWatches(share, prefixes, changes_per_s / len(regions)),
        )
        for region, share in shares.items()
    ]
    with workers.team(stage.network, stage.label("idle"), placements) as team:
        team.go()
        yield
        team.stop()
        left = Findings.total(list(team.findings(_PATIENCE_S).values())).answers
        if left != watches:
            raise WatchesLost(f"{watches - left} of {watches} watches ended under the load")


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    system = GlobalTableSystem()

    def load(running: GlobalTableRunning, repeat: int, watches: int) -> Measurement:
        stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {watches:,} watchers")
        one = measure_closed(
            stage, NAME, system.name, running, repeat, options.callers, options.seconds
        )
        return replace(one, case={**one.case, "watchers": watches})

    with system.start(stage.network) as running:
        for repeat in range(stage.repeats):
            yield load(running, repeat, 0)
            with watched(stage, running, options.watchers):
                with_them = load(running, repeat, options.watchers)
            yield with_them


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--watchers", type=int, default=10_000, help="idle (%(default)s)")
    parser.add_argument("--callers", type=int, default=256, help="that bind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "binds a second without and with idle watchers, in turn",
    measure,
    add_options,
    short=("--seconds", "3"),
)
