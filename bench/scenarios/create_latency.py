"""A new session from each region in turn: is its cost the round trip to the nearest other region?

No protocol that survives the loss of a region can do with less, and a `create`, whose key the
library mints, is to cost no more, wherever leaders stand: it falls into a group that is led where
that is so. Beside it stand keys of the application's, which fall into any group.

Played over the run's own links and, if those are all alike, over unequal ones as well: where links
differ, what is nearest does. There, leaders are placed as planned, and besides dealt out in turn,
as they are where nobody has made a plan. With links alike both are the same.
"""

import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from globaltable.bench import floor, workers
from globaltable.bench.activities.mints import MINTED, Mints
from globaltable.bench.findings import WON, Findings
from globaltable.bench.histogram import Histogram
from globaltable.bench.network import Network, RoundTrips, open_network
from globaltable.bench.results import Case, Measurement
from globaltable.bench.scenarios.scenario import CannotMeasure, Scenario, Stage, comma_separated
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem
from globaltable.server.config import Placement

NAME: Final = "create-latency"
GIVEN: Final = "given"
ALIKE: Final = "alike"
UNEQUAL: Final = "unequal"
PLANNED: Final = "planned"
IN_TURN: Final = "in turn"
KINDS: Final = {MINTED: MINTED, GIVEN: WON}
"""Of keys, and what an activity records each as."""
SYSTEMS: Final = {
    PLANNED: GlobalTableSystem(),
    # As if all links were alike, whatever they are.
    IN_TURN: GlobalTableSystem(placement=Placement(0.0)),
}
"""By how leaders are placed."""
_LEADERS_TIMEOUT_S: Final = 30.0
_TIMEOUT_S: Final = 300.0


def links_of(network: Network) -> str:
    return ALIKE if len(set(_round_trips_ms(network).values())) == 1 else UNEQUAL


def in_words(network: Network) -> str:
    """The round trips that are injected."""
    pairs = _round_trips_ms(network)
    if links_of(network) == ALIKE:
        return f"{next(iter(pairs.values())):g} ms"
    return ", ".join(f"{a}-{b} {ms:g}" for (a, b), ms in pairs.items()) + " ms"


def _round_trips_ms(network: Network) -> dict[tuple[str, str], float]:
    pairs = itertools.combinations(network.regions, 2)
    return {(a, b): network.round_trip_ms(a, b) for a, b in pairs}


def soonest_groups(region: str, leaders: Mapping[int, str], network: Network) -> frozenset[int]:
    """Those of which none costs less from a region, by the round trips that are injected."""
    costs = {
        group: floor.floor_ms(region, leader, network.regions, network.round_trip_ms)
        for group, leader in leaders.items()
    }
    return frozenset(group for group, ms in costs.items() if ms == min(costs.values()))


def measure_creates(
    stage: Stage, running: GlobalTableRunning, leaders: str, repeat: int, ops: int
) -> Measurement:
    """With the pings of the same minutes."""
    network = stage.network
    running.wait_led_where_preferred(_LEADERS_TIMEOUT_S)
    stage.ping()
    led_from = running.leaders(network.regions[0])
    latencies: dict[str, Histogram] = {}
    figures: dict[str, float] = {}
    for region in network.regions:
        alone = workers.Placement(region, running.target(region), Mints(ops))
        found = workers.run(network, stage.label("mints"), [alone], _TIMEOUT_S)[region]
        for kind, recorded in KINDS.items():
            own = found.latencies.get(recorded, Histogram())
            latencies[f"{kind}, {region}"] = own
            if own.count:
                figures[f"p50_ms:{kind}:{region}"] = own.percentile_ms(50)
                figures[f"p99_ms:{kind}:{region}"] = own.percentile_ms(99)
        floor_ms = floor.nearest_majority_ms(region, network.regions, stage.ping_p50_ms)
        figures[f"floor_ms:{region}"] = floor_ms
        figures[f"failed:{region}"] = float(found.failed)
        figures |= _share_soonest(region, found, running, soonest_groups(region, led_from, network))
    case: Case = {
        "links": links_of(network),
        "round_trips": in_words(network),
        "leaders": leaders,
        "callers": 1,
    }
    return Measurement(NAME, GlobalTableSystem.name, case, repeat, figures, latencies)


def _share_soonest(
    region: str, found: Findings, running: GlobalTableRunning, soonest: frozenset[int]
) -> dict[str, float]:
    if not found.won:
        return {}
    fell = sum(running.group_of(key) in soonest for key in found.won)
    return {f"soonest_share:{region}": fell / len(found.won)}


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    yield from _over_links(stage, options)
    if not options.unequal_ms or links_of(stage.network) != ALIKE:
        return
    round_trips = round_trips_of(stage.network.regions, options.unequal_ms)
    with open_network(stage.network.regions, round_trips, stage.network.kind) as network:
        yield from _over_links(stage.over(network), options)


def round_trips_of(regions: Sequence[str], given_ms: Sequence[float]) -> RoundTrips:
    """One for each pair, in the order of the regions. Raises `CannotMeasure`."""
    pairs = [frozenset(pair) for pair in itertools.combinations(regions, 2)]
    if len(pairs) != len(given_ms):
        raise CannotMeasure(
            f"{NAME}: {len(given_ms)} round trips for the {len(pairs)} pairs of "
            f"{len(regions)} regions; give one for each pair, in --unequal-ms"
        )
    try:
        return RoundTrips(0.0, dict(zip(pairs, given_ms, strict=True)))
    except ValueError as error:
        raise CannotMeasure(f"{NAME}: --unequal-ms has {error}") from error


def _over_links(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    ways = [PLANNED]
    # Of five regions, nodes believe the plan's round trips of links that are not their own.
    if links_of(stage.network) == UNEQUAL and len(stage.network.regions) == 3:
        ways.append(IN_TURN)
    for repeat in range(stage.repeats):
        for leaders in ways:
            links = in_words(stage.network)
            stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {links}, leaders {leaders}")
            with SYSTEMS[leaders].start(stage.network) as running:
                yield measure_creates(stage, running, leaders, repeat, options.ops)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ops", type=int, default=200, help="of each kind, from each region (%(default)s)"
    )
    parser.add_argument(
        "--unequal-ms",
        type=comma_separated(float),
        default=[5.0, 25.0, 28.0],
        help="round trips a-b, a-c, b-c, over which it is played too if the run's own are all "
        "alike; empty: not (5,25,28)",
    )


SCENARIO: Final = Scenario(
    NAME,
    "a new session from each region: minted keys and given ones, beside the nearest region's ping",
    measure,
    add_options,
    short=("--ops", "60"),
)
