"""How many binds a second, and how long each takes: more and more callers, or a given rate."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Final

from globaltable.bench import workers
from globaltable.bench.activities.closed_loop import ClosedLoop
from globaltable.bench.activities.open_loop import OpenLoop
from globaltable.bench.findings import Findings
from globaltable.bench.results import Case, Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage, comma_separated, figures_of
from globaltable.bench.systems import Running
from globaltable.bench.systems.globaltable import GlobalTableSystem

NAME: Final = "throughput"
CLOSED: Final = "closed"
OPEN: Final = "open"
SETTLE_S: Final = 1.0
_PATIENCE_S: Final = 60.0


def measure_closed(
    stage: Stage,
    scenario: str,
    system: str,
    running: Running,
    repeat: int,
    callers: int,
    seconds: float,
    regions: tuple[str, ...] = (),
    processes_per_region: int = 1,
) -> Measurement:
    """Callers that each await one op, shared out over the regions (all, if none is named)."""
    regions = regions or stage.network.regions
    processes = [region for region in regions for _ in range(processes_per_region)]
    shares = [
        callers // len(processes) + (number < callers % len(processes))
        for number in range(len(processes))
    ]
    placements = [
        workers.Placement(region, running.target(region), ClosedLoop(share, seconds))
        for region, share in zip(processes, shares, strict=True)
        if share
    ]
    found = workers.run(stage.network, stage.label("closed"), placements, seconds + _PATIENCE_S)
    case: Case = {"load": CLOSED, "callers": callers, "from": _from(regions)}
    return _measurement(scenario, system, case, repeat, found, seconds)


def measure_open(
    stage: Stage,
    scenario: str,
    system: str,
    running: Running,
    repeat: int,
    rate_per_s: float,
    seconds: float,
    processes_per_region: int = 1,
) -> Measurement:
    """Ops begun at a rate, whatever becomes of them; latencies from when each was due."""
    regions = stage.network.regions
    activity = OpenLoop(rate_per_s / len(regions) / processes_per_region, seconds, SETTLE_S)
    placements = workers.everywhere(stage.targets(running), activity, processes_per_region)
    found = workers.run(stage.network, stage.label("open"), placements, seconds + _PATIENCE_S)
    case: Case = {"load": OPEN, "rate_per_s": rate_per_s, "from": _from(regions)}
    return _measurement(scenario, system, case, repeat, found, seconds, SETTLE_S)


def _from(regions: tuple[str, ...]) -> str:
    return "+".join(regions)


def _measurement(
    scenario: str,
    system: str,
    case: Case,
    repeat: int,
    found: dict[str, Findings],
    seconds: float,
    settle_s: float = 0.0,
) -> Measurement:
    total = Findings.total(list(found.values()))
    figures = figures_of(total, settle_s, seconds)
    latencies = {region: one.answered for region, one in found.items()}
    return Measurement(scenario, system, case, repeat, figures, latencies)


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    system = GlobalTableSystem()
    per_region = options.processes
    for repeat in range(stage.repeats):
        with system.start(stage.network) as running:
            for callers in options.callers:
                stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {callers} callers")
                regions = (stage.network.regions[0],) if options.one_region else ()
                yield measure_closed(
                    stage, NAME, system.name, running, repeat, callers, options.seconds, regions,
                    per_region,
                )  # fmt: skip
            for rate in options.rates:
                stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {rate:,.0f} a second")
                yield measure_open(
                    stage, NAME, system.name, running, repeat, rate, options.seconds, per_region
                )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--callers",
        type=comma_separated(int),
        default=[64, 256, 1024],
        help="of the closed loops, in all regions together (64,256,1024)",
    )
    parser.add_argument(
        "--rates",
        type=comma_separated(float),
        default=[2_000.0, 5_000.0, 10_000.0, 20_000.0],
        help="of the open loops, a second (2000,5000,10000,20000)",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (%(default)s)")
    parser.add_argument("--one-region", action="store_true", help="closed loops from one only")
    parser.add_argument(
        "--processes", type=int, default=1, help="of load, in each region (%(default)s)"
    )


SCENARIO: Final = Scenario(
    NAME,
    "binds a second and their latency: callers that await, and open loops at given rates",
    measure,
    add_options,
    short=("--seconds", "3", "--callers", "64,256,1024", "--rates", "5000,20000"),
)
