"""Which group holds each slot, as far as this node knows: where ops, reads and watches go.

Known is what the node's own replicas have applied. Each move of a slot raises its hop, so of what
several replicas say the highest hop counts, be it that a group holds the slot or that it has
released it to another. Of a slot that none of them has ever held, the topology says where it is to
be.

What is known may be old, and then costs a round trip: the group that is asked refuses what is on a
slot that it does not hold (`table`). A replica that is out of service is remembered for what it
knew.
"""

from collections.abc import Iterable
from typing import Final
from zlib import crc32

from globaltable.holdings import Holdings
from globaltable.topology import Topology, slot_of

_UNKNOWN: Final = -1
"""Below the hop at which slots are dealt."""


class SlotRoutes:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._slots = topology.slots
        self._known: dict[int, Holdings] = {}
        self._groups: list[int] = []
        """By slot."""
        self._compute()

    def group_of_slot(self, slot: int) -> int:
        return self._groups[slot]

    def group_of(self, name: bytes) -> int:
        return self._groups[slot_of(name, self._slots)]

    def groups_of(self, names: Iterable[bytes]) -> list[int]:
        """`group_of` for many names: without a call for each."""
        groups, slots = self._groups, self._slots
        return [groups[crc32(name) % slots] for name in names]

    def set_topology(self, topology: Topology) -> None:
        self._topology = topology
        self._compute()

    def learn(self, group: int, holdings: Holdings) -> None:
        """What a replica of a group holds, which was added, or whose table was replaced."""
        self._known[group] = holdings
        self._compute()

    def moved(self, group: int, holdings: Holdings, slots: Iterable[int]) -> None:
        """What a replica of a group holds, which differs in these slots only."""
        self._known[group] = holdings
        for slot in slots:
            self._groups[slot] = self._compute_slot(slot)

    def forget(self, group: int) -> None:
        if self._known.pop(group, None) is not None:
            self._compute()

    def _compute(self) -> None:
        hops = [_UNKNOWN] * self._slots
        groups = [self._topology.group_of_slot(slot) for slot in range(self._slots)]
        for group, holdings in self._known.items():
            for slot, hop, to in holdings.claims:
                if hop > hops[slot]:
                    hops[slot], groups[slot] = hop, group if to is None else to
        self._groups = groups

    def _compute_slot(self, slot: int) -> int:
        highest, found = _UNKNOWN, self._topology.group_of_slot(slot)
        for group, holdings in self._known.items():
            claim = holdings.claim(slot)
            if claim is not None and claim[0] > highest:
                highest, to = claim
                found = group if to is None else to
        return found
