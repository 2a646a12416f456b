"""What a commit costs from each region as things stand, and as they could: which leaders are best.

Pure: made of a topology, of the round trips there are between its regions, and of who leads now.
Geos are planned each for itself, for their groups hold different tables, and have other callers.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from globaltable.errors import Unavailable
from globaltable.geo import EVERYWHERE, Geo
from globaltable.placement import RoundTrips, callers_in, costs_from_s, planned_leaders
from globaltable.topology import Topology

Pair = frozenset[str]
"""Two regions."""


class LedFrom(NamedTuple):
    """A placement there could be: all that has a replica in a region is led from there."""

    region: str
    commit_ms: Mapping[str, float]
    """By the caller's region."""
    mean_ms: float
    """Weighed, if shares of the writes are given."""


class GeoPlan(NamedTuple):
    """What a commit costs for the tables of one geo, by the caller's region. Means over its groups;
    of those that are led by somebody."""

    geo: str
    groups: Sequence[int]
    before_ms: Mapping[str, float]
    after_ms: Mapping[str, float]
    placements: Sequence[LedFrom]
    """The best first."""


class Plan(NamedTuple):
    regions: Sequence[str]
    pairs_ms: Mapping[Pair, float]
    presumed: Sequence[Pair]
    """Pairs whose round trip nobody has measured."""
    present: Sequence[str]
    """The region that leads each group; empty where none is known."""
    preferred: Sequence[str]
    """The region that should, as things are set."""
    planned: Sequence[str]
    leaders: Sequence[str]
    """The nodes planned, by the number of the group."""
    set_leaders: Sequence[str]
    """The nodes that should lead as things are set."""
    geos: Sequence[GeoPlan]
    """The default one first."""


def make_plan(
    topology: Topology,
    measured_ms: Mapping[Pair, float],
    otherwise: RoundTrips | None,
    present: Sequence[str],
    weights: Mapping[str, float],
    leader_regions: Mapping[str, str],
) -> Plan:
    """`otherwise` is believed of what nobody has measured. `weights` and `leader_regions` as in
    `planned_leaders`. Raises `Unavailable` if the round trip of some pair is not known."""
    regions = list(dict.fromkeys(node.region for node in topology.nodes))
    pairs: dict[Pair, float] = {}
    presumed: list[Pair] = []
    for pair in map(frozenset, combinations(regions, 2)):
        if pair in measured_ms:
            pairs[pair] = measured_ms[pair]
        elif otherwise is not None:
            pairs[pair] = otherwise.between_ms(*pair)
            presumed.append(pair)
        else:
            raise Unavailable(
                f"the round trip between {' and '.join(sorted(pair))} is not known: no node that "
                "answers has measured it; start them, or have a file that says it (--config)"
            )
    round_trips = RoundTrips(max(pairs.values()), pairs)
    region_of = topology.region_of
    leaders = planned_leaders(topology, round_trips, weights, leader_regions)
    planned = [region_of[node] for node in leaders]
    set_leaders = tuple(topology.preferred(group) for group in topology.groups)
    return Plan(
        regions=regions,
        pairs_ms=pairs,
        presumed=presumed,
        present=present,
        preferred=[region_of[node] for node in set_leaders],
        planned=planned,
        leaders=leaders,
        set_leaders=set_leaders,
        geos=[
            GeoPlan(
                geo.name,
                [group.number for group in topology.groups_in(geo.name)],
                _expected_ms(topology, geo, present, round_trips),
                _expected_ms(topology, geo, planned, round_trips),
                _placements(topology, geo, round_trips, weights),
            )
            for geo in (EVERYWHERE, *topology.geos)
        ],
    )


def _expected_ms(
    topology: Topology, geo: Geo, leaders: Sequence[str], round_trips: RoundTrips
) -> dict[str, float]:
    """The mean over the groups with a leader, for callers in each region."""
    regions = callers_in(topology, geo)
    led = []
    for group in topology.groups_in(geo.name):
        held_in = [topology.region_of[node] for node in group.replicas]
        leader = leaders[group.number]
        # A replica that moves may lead where none is to be: nothing is expected of that.
        if leader in held_in:
            led.append(costs_from_s(regions, held_in, leader, round_trips.between_s))
    return {
        region: 1_000 * sum(costs[region] for costs in led) / len(led) if led else math.nan
        for region in regions
    }


def _placements(
    topology: Topology, geo: Geo, round_trips: RoundTrips, weights: Mapping[str, float]
) -> list[LedFrom]:
    found = []
    for region in callers_in(topology, geo):
        commit_ms = _expected_ms(topology, geo, [region] * len(topology.groups), round_trips)
        shares = {caller: weights.get(caller, 0.0) for caller in commit_ms}
        if not any(shares.values()):
            shares = dict.fromkeys(commit_ms, 1.0)
        mean_ms = math.fsum(shares[c] * ms for c, ms in commit_ms.items()) / sum(shares.values())
        if not math.isnan(mean_ms):
            found.append(LedFrom(region, commit_ms, mean_ms))
    return sorted(found, key=lambda one: one.mean_ms)
