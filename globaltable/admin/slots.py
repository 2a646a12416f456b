"""Where slots are, and where they are to be, by what nodes say: of each slot the latest counts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from globaltable.topology import Topology
from globaltable.v1 import admin_pb2 as pb
from globaltable.wire.topologies import decode_topology


class SlotsStanding(NamedTuple):
    topology: Topology
    """The newest that was told."""
    holders: Mapping[str, Sequence[int]]
    """By geo, the group that holds each slot now, or to which it is just being handed over."""
    moves: int
    """Rises with each move of a slot."""

    @property
    def under_way(self) -> list[tuple[str, int]]:
        """Slots, each with its geo, that are not yet held by the group that is to hold them."""
        return [
            (geo, slot)
            for geo, holders in self.holders.items()
            for slot, wanted in enumerate(self.topology.assignment(geo))
            if holders[slot] != wanted
        ]


def slots_in(answers: Iterable[pb.TopologyStanding]) -> SlotsStanding:
    """By the word of these nodes, one at least."""
    answers = list(answers)
    topologies = (decode_topology(answer.json) for answer in answers)
    newest = max(topologies, key=lambda topology: topology.version)
    latest: dict[tuple[str, int], tuple[int, int]] = {}
    for claim in (claim for answer in answers for claim in answer.claims):
        for slot, order, group in zip(claim.slots, claim.orders, claim.groups, strict=True):
            at = (claim.geo, slot)
            latest[at] = max(latest.get(at, (0, 0)), (order, group))
    holders = {}
    for geo in ("", *(geo.name for geo in newest.geos)):
        dealt = newest.dealt_to(geo)
        holders[geo] = [latest.get((geo, at), (0, group))[1] for at, group in enumerate(dealt)]
    return SlotsStanding(newest, holders, sum(order for order, _ in latest.values()))
