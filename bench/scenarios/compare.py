"""GlobalTable and what one would otherwise take, over the same network in the same run.

Each system is started anew for each repeat, alone, and the order changes from repeat to repeat: so
no system owns the quiet minutes, and figures of one repeat may be set against each other.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Final

from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.commit_latency import measure_one_at_a_time
from globaltable.bench.scenarios.scenario import CannotMeasure, Scenario, Stage, comma_separated
from globaltable.bench.scenarios.throughput import measure_closed
from globaltable.bench.systems import System, packages
from globaltable.bench.systems.etcd import EtcdSystem
from globaltable.bench.systems.globaltable import GlobalTableSystem
from globaltable.bench.systems.zookeeper import ZooKeeperSystem
from globaltable.errors import GlobalTableError

NAME: Final = "compare"
SYSTEMS: Final = ("globaltable", "etcd", "zookeeper")


def _system(name: str, leader: str) -> System:
    """Those that have one leader are led from the same region in every repeat."""
    if name == "etcd":
        return EtcdSystem(leader)
    if name == "zookeeper":
        return ZooKeeperSystem(leader)
    return GlobalTableSystem()


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    unknown = set(options.systems) - set(SYSTEMS)
    if unknown:
        raise CannotMeasure(f"{NAME}: no system {sorted(unknown)}; there are {', '.join(SYSTEMS)}")
    if stage.network.kind != "namespaces" and set(options.systems) != {GlobalTableSystem.name}:
        raise CannotMeasure(
            f"{NAME}: etcd and ZooKeeper cannot hold back their own messages; it needs the network "
            "of kind namespaces"
        )
    if set(options.systems) != {GlobalTableSystem.name}:
        packages.install_peers()
    leader = stage.network.regions[0]
    for repeat in range(stage.repeats):
        turn = repeat % len(options.systems)
        for name in [*options.systems[turn:], *options.systems[:turn]]:
            try:
                yield from _one(stage, _system(name, leader), repeat, options)
            except GlobalTableError as error:
                # One system that fails once leaves the others to be measured.
                stage.failures.append(f"{NAME}, repeat {repeat + 1}: {name} failed: {error}")
                stage.say(stage.failures[-1])


def _one(stage: Stage, system: System, repeat: int, options: Namespace) -> Iterator[Measurement]:
    stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {system.name}")
    with system.start(stage.network) as running:
        yield measure_one_at_a_time(stage, NAME, system.name, running, repeat, options.ops)
        for callers in options.callers:
            stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {system.name}, {callers} callers")
            yield measure_closed(
                stage,
                NAME,
                system.name,
                running,
                repeat,
                callers,
                options.seconds,
                processes_per_region=options.processes,
            )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--systems",
        type=comma_separated(str),
        default=list(SYSTEMS),
        help=f"in turn ({','.join(SYSTEMS)})",
    )
    parser.add_argument("--ops", type=int, default=100, help="one at a time (%(default)s)")
    parser.add_argument(
        "--callers", type=comma_separated(int), default=[256, 1024], help="(256,1024)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (%(default)s)")
    parser.add_argument(
        "--processes", type=int, default=1, help="of load, in each region (%(default)s)"
    )


SCENARIO: Final = Scenario(
    NAME,
    "globaltable, etcd and zookeeper in turn: latency by region, throughput, ratios",
    measure,
    add_options,
    repeats_in_all=None,
)
