"""One op outstanding, from each region in turn: how near to the round trip is a durable write?"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Final

from globaltable.bench import floor, workers
from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.findings import Findings
from globaltable.bench.histogram import Histogram
from globaltable.bench.results import Case, Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage
from globaltable.bench.systems import Running
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem

NAME: Final = "commit-latency"
ONE_AT_A_TIME: Final = "one at a time"
_TIMEOUT_S: Final = 300.0


def measure_one_at_a_time(
    stage: Stage, scenario: str, system: str, running: Running, repeat: int, ops: int
) -> Measurement:
    """With the pings of the same minutes."""
    stage.ping()
    latencies: dict[str, Histogram] = {}
    figures: dict[str, float] = {}
    for region in stage.network.regions:
        alone = workers.Placement(
            region, running.target(region), ClosedLoop(callers=1, seconds=_TIMEOUT_S, ops_max=ops)
        )
        found = workers.run(stage.network, stage.label("alone"), [alone], _TIMEOUT_S)
        total = Findings.total(list(found.values()))
        latencies[region] = total.answered
        figures[f"p50_ms:{region}"] = total.answered.percentile_ms(50)
        figures[f"p99_ms:{region}"] = total.answered.percentile_ms(99)
        figures[f"failed:{region}"] = float(total.failed)
    figures |= _limits(stage, running)
    if running.leader_region is not None:
        figures |= {
            f"leads:{region}": float(region == running.leader_region) for region in latencies
        }
    case: Case = {"load": ONE_AT_A_TIME, "callers": 1}
    return Measurement(scenario, system, case, repeat, figures, latencies)


def _limits(stage: Stage, running: Running) -> dict[str, float]:
    """From each region, the least that the network alone takes, given who leads."""
    regions = stage.network.regions
    if isinstance(running, GlobalTableRunning):
        leaders = running.leaders(regions[0])
    elif running.leader_region is not None:
        leaders = {0: running.leader_region}
    else:
        return {}
    limits = {}
    for region in regions:
        floors = floor.floors_ms(region, leaders, regions, stage.ping_p50_ms)
        limits[f"limit_p50_ms:{region}"] = floor.share_ms(floors, 0.5)
        limits[f"limit_p99_ms:{region}"] = floor.share_ms(floors, 0.99)
    return limits


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    for repeat in range(stage.repeats):
        stage.say(f"{NAME} {repeat + 1}/{stage.repeats}")
        system = GlobalTableSystem()
        with system.start(stage.network) as running:
            yield measure_one_at_a_time(stage, NAME, system.name, running, repeat, options.ops)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--ops", type=int, default=300, help="from each region (%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "a durable write from each region, one op outstanding, beside a TCP ping",
    measure,
    add_options,
)
