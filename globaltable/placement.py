"""Where leaders should stand, and which groups are cheapest from here: arithmetic of round trips.

A write costs what it takes until the node it entered at knows of a majority (that is the rule of
`raft.commit_latency`), and that hangs on where the group's leader stands. Callers in a region that
holds no replica of the group ask the nearest one, and pay the way to it on top. The plan
(`planned_leaders`) gives each group, in turn, a leader for which the mean of that cost over all
regions is least: over regions, because a key that the application chose falls into any group,
whoever writes it; weighted, if it is known how many of the writes enter at each region. Leaders
that cost nearly the same (`_is_near`) count as equal, and among equals the region that leads fewest
groups so far is taken, first those that come first in the group's own order. So

* with equal round trips, leaders are dealt out in turn, as `topology.spread` does;
* with three regions of which one is on both of the two shortest links, that one leads everything:
  every region then pays the round trip to its nearest neighbour, and no protocol that survives the
  loss of a region can do with less. What is given up is an even share of the work of leading;
* with five, one leader cannot be nearest to all. The mean decides, and a region may be left without
  a group that is cheapest for it alone.

Of a group of a geo the callers are those in the geo's regions. Where a leader region is named, it
leads what it has a vote in, whatever that costs.

Invariant: the plan is a function of its arguments. Nodes that read the same file come to the same
plan, and a plan from measured round trips is stable because they are written into that file.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, NamedTuple

from globaltable.geo import Geo
from globaltable.raft.commit_latency import commit_latency_s
from globaltable.topology import Topology

RoundTripS = Callable[[str, str], float]
"""The round trip between two different nodes or regions; infinite if none is possible or known."""

_NEAR_RATIO: Final = 1.05
_NEAR_S: Final = 0.00025
"""What round trips vary by themselves: costs no farther apart are the same."""


def _is_near(cost_s: float, least_s: float) -> bool:
    return cost_s <= max(least_s * _NEAR_RATIO, least_s + _NEAR_S)


def costs_s(voters: Sequence[str], leader: str, round_trip_s: RoundTripS) -> dict[str, float]:
    """How long a write takes on the network from each voter at which it may enter."""
    pairs = {pair: round_trip_s(*pair) for pair in combinations(voters, 2)}
    return {voter: commit_latency_s(pairs, voters, leader, voter) for voter in voters}


def costs_from_s(
    places: Sequence[str], voters: Sequence[str], leader: str, round_trip_s: RoundTripS
) -> dict[str, float]:
    """How long a write takes on the network for callers in some places. Where there is no voter
    they ask the nearest one there is, and pay the way to it on top."""
    costs = costs_s(voters, leader, round_trip_s)
    from_s = {}
    for place in places:
        if place in costs:
            from_s[place] = costs[place]
        else:
            way_s, nearest = min((round_trip_s(place, voter), voter) for voter in voters)
            from_s[place] = way_s + costs[nearest]
    return from_s


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Round trips between regions, as configured or measured, for every pair."""

    otherwise_ms: float = 0.0
    """Of pairs that are not named."""
    pairs_ms: Mapping[frozenset[str], float] = field(default_factory=dict)

    def between_ms(self, a: str, b: str) -> float:
        return 0.0 if a == b else self.pairs_ms.get(frozenset((a, b)), self.otherwise_ms)

    def between_s(self, a: str, b: str) -> float:
        return self.between_ms(a, b) / 1_000


def planned_leaders(
    topology: Topology,
    round_trips: RoundTrips,
    weights: Mapping[str, float] | None = None,
    leader_regions: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The node that should lead each group, by the group's number: see the module's head.

    A node that is drained leads nothing, if another can. `weights` are the shares of the writes
    that enter at each region, in any unit, none of them below 0; without them, and where all are 0,
    regions count alike. `leader_regions` name, by geo ("" the default one), the region that is to
    lead.
    """
    region_of = topology.region_of

    def mean_s(leader: str, voters: Iterable[str], geo: Geo) -> float:
        # In one order, whatever the group's own: sums of floats depend on it.
        regions = callers_in(topology, geo)
        shares = [(weights or {}).get(region, 0.0) for region in regions]
        if not any(shares):
            shares = [1.0] * len(regions)
        held_in = sorted(region_of[voter] for voter in voters)
        costs = costs_from_s(regions, held_in, region_of[leader], round_trips.between_s).values()
        weighed = math.fsum(share * cost for share, cost in zip(shares, costs, strict=True))
        return weighed / math.fsum(shares)

    leads = dict.fromkeys(region_of, 0)
    known: dict[tuple[str, frozenset[str], str], float] = {}
    leaders: list[str] = []
    for group in topology.groups:
        voters = frozenset(group.replicas)
        for name in group.replicas:
            if (name, voters, group.geo) not in known:
                mean = mean_s(name, voters, topology.geo_of_group(group))
                known[name, voters, group.geo] = mean
        ready = [n for n in group.replicas if not topology.node_by_name[n].drained]
        ready = ready or list(group.replicas)
        least_s = min(known[name, voters, group.geo] for name in ready)
        equals = [n for n in ready if _is_near(known[n, voters, group.geo], least_s)]
        wanted = (leader_regions or {}).get(group.geo, "")
        leader = next(
            (name for name in ready if region_of[name] == wanted),
            min(equals, key=leads.__getitem__),
        )
        leads[leader] += 1
        leaders.append(leader)
    return tuple(leaders)


def callers_in(topology: Topology, geo: Geo) -> list[str]:
    """The regions in which those who write to a geo's tables are taken to be, sorted."""
    return sorted({node.region for node in topology.nodes if geo.allows(node.region)})


def placed(
    topology: Topology,
    round_trips: RoundTrips,
    weights: Mapping[str, float] | None = None,
    leader_regions: Mapping[str, str] | None = None,
) -> Topology:
    """The same groups on the same nodes, led as planned."""
    return topology.led_by(planned_leaders(topology, round_trips, weights, leader_regions))


class Cheapest(NamedTuple):
    """The groups that commit soonest from one node, and how soon."""

    groups: tuple[int, ...]
    """Ascending; empty if nothing is known of any."""
    expected_s: float
    """Of the soonest; 0.0 if there is none."""


def cheapest_groups(
    origin: str, topology: Topology, leaders: Mapping[int, str], round_trip_s: RoundTripS
) -> Cheapest:
    """Of the groups whose present leader is known, those that commit soonest from `origin`."""
    known: dict[tuple[str, tuple[str, ...]], float] = {}
    costs: dict[int, float] = {}
    for number, leader in leaders.items():
        voters = topology.groups[number].replicas
        if origin not in voters:
            continue
        if (leader, voters) not in known:
            known[leader, voters] = costs_s(voters, leader, round_trip_s)[origin]
        cost_s = known[leader, voters]
        if math.isfinite(cost_s):
            costs[number] = cost_s
    if not costs:
        return Cheapest((), 0.0)
    least_s = min(costs.values())
    near = sorted(number for number, cost_s in costs.items() if _is_near(cost_s, least_s))
    return Cheapest(tuple(near), least_s)
