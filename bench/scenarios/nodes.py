"""What more nodes in each region bring: binds a second, and the processor time of all nodes a bind.

Each region has its share of the callers, and its clients are given its own nodes: of these they ask
for each key the one that holds its group. There are as many groups as nodes. Where the cores of the
machine run out, it is not the rate that counts but the processor time: with as many cores as nodes,
a region could do so many times more.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Final

from globaltable.bench.processes import cpu_s
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage, comma_separated
from globaltable.bench.scenarios.throughput import measure_closed
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem

NAME: Final = "nodes"
_WARM_S: Final = 1.0


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    for repeat in range(stage.repeats):
        for nodes in options.nodes:
            system = GlobalTableSystem(nodes_per_region=nodes)
            with system.start(stage.network) as running:
                callers = max(options.callers)
                measure_closed(stage, NAME, system.name, running, repeat, callers, _WARM_S)
                for callers in options.callers:
                    stage.say(
                        f"{NAME} {repeat + 1}/{stage.repeats}: {nodes} in each region, "
                        f"{callers} callers"
                    )
                    before_s = _cpu_s(running)
                    found = measure_closed(
                        stage, NAME, system.name, running, repeat, callers, options.seconds
                    )
                    yield _with_cost(found, nodes, _cpu_s(running) - before_s)


def _cpu_s(running: GlobalTableRunning) -> float:
    cluster = running.cluster
    return sum(cpu_s(cluster.pid(node)) for node in cluster.nodes)


def _with_cost(found: Measurement, nodes: int, took_s: float) -> Measurement:
    answered = sum(histogram.count for histogram in found.latencies.values())
    figures = dict(found.figures)
    if answered:
        figures["node_cpu_s_per_1000_binds"] = 1_000 * took_s / answered
    case = {**found.case, "nodes_per_region": nodes}
    return Measurement(
        found.scenario, found.system, case, found.repeat, figures, found.latencies, found.timeline
    )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--nodes",
        type=comma_separated(int),
        default=[1, 2, 4],
        help="in each region (1,2,4)",
    )
    parser.add_argument(
        "--callers",
        type=comma_separated(int),
        default=[256, 1024],
        help="of the closed loops, in all regions together (256,1024)",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "one, two and four nodes in each region: binds a second, and processor time a bind",
    measure,
    add_options,
    short=("--seconds", "3"),
    repeats_in_all=1,
)
