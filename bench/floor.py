"""What a commit costs at the least: round trips alone, from each region, for a topology.

Pure arithmetic on round trips, after the rules by which replicas commit (`raft/quorum.py`):

* the leader waits for the nearest followers that make a majority with it;
* with three replicas, a follower asks the leader and knows by the answer: one round trip to it;
* with five, a follower also needs to hear that a third replica holds the entry, be it from that
  replica (`held`: follower, leader, third, follower) or from the leader once that one knows.
"""

import math
from collections.abc import Callable, Mapping, Sequence

RoundTripMs = Callable[[str, str], float]


def floor_ms(region: str, leader: str, regions: Sequence[str], round_trip_ms: RoundTripMs) -> float:
    """From `region`, to a group that is led in `leader` and has a replica in each of `regions`."""
    others_needed = len(regions) // 2
    """Beside the leader."""
    acknowledged = sorted(round_trip_ms(leader, other) for other in regions if other != leader)
    at_the_leader = acknowledged[others_needed - 1]
    if region == leader:
        return at_the_leader
    there_and_back = round_trip_ms(region, leader)
    if others_needed == 1:
        return there_and_back
    by_held = sorted(
        (there_and_back + round_trip_ms(leader, third) + round_trip_ms(third, region)) / 2
        for third in regions
        if third not in (region, leader)
    )[others_needed - 2]
    return min(max(there_and_back, by_held), there_and_back + at_the_leader)


def nearest_majority_ms(region: str, regions: Sequence[str], round_trip_ms: RoundTripMs) -> float:
    """What any protocol costs from `region` that outlives the loss of a minority, whoever leads."""
    return floor_ms(region, region, regions, round_trip_ms)


def floors_ms(
    region: str,
    leaders: Mapping[int, str],
    regions: Sequence[str],
    round_trip_ms: RoundTripMs,
) -> list[float]:
    """To each group, ascending; keys are spread evenly over groups, so each weighs the same."""
    return sorted(floor_ms(region, leader, regions, round_trip_ms) for leader in leaders.values())


def share_ms(floors: Sequence[float], share: float) -> float:
    """The least of the floors that at least this share of all keys does not exceed."""
    assert floors and 0 < share <= 1, (floors, share)
    return floors[max(1, math.ceil(round(len(floors) * share, 9))) - 1]
