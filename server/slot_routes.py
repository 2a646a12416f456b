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
"""Below the order of a slot where it was dealt."""


class SlotRoutes:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._slots = topology.slots
        self._known: dict[int, Holdings] = {}
        self._groups: list[int] = []
        """By slot."""
        self._orders: list[int] = []
        """By slot: twice the hop at which it came there, and one more if it is held there. None
        gives way to a lower one."""
        self._news: set[int] = set()
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
        for slot, hop, to in holdings.claims:
            self._take(group, slot, hop, to)

    def moved(self, group: int, holdings: Holdings, slots: Iterable[int]) -> None:
        """What a replica of a group holds, which differs in these slots only."""
        self._known[group] = holdings
        for slot in slots:
            claim = holdings.claim(slot)
            if claim is not None:
                self._take(group, slot, *claim)

    def forget(self, group: int) -> None:
        if self._known.pop(group, None) is not None:
            self._compute()

    def take_news(self) -> list[tuple[int, int, int]]:
        """Of the slots of which something was learnt since this was asked last: slot, order, and
        group; none of those that are where they were dealt."""
        news, self._news = self._news, set()
        return [(slot, self._orders[slot], self._groups[slot]) for slot in news]

    def _compute(self) -> None:
        self._groups = [self._topology.group_of_slot(slot) for slot in range(self._slots)]
        self._orders = [_UNKNOWN] * self._slots
        for group, holdings in self._known.items():
            for slot, hop, to in holdings.claims:
                self._take(group, slot, hop, to)

    def _take(self, group: int, slot: int, hop: int, to: int | None) -> None:
        # At one hop a slot is held by who it was released to, or again by who released it.
        order = 2 * hop + (to is None)
        if order > self._orders[slot]:
            self._orders[slot] = order
            self._groups[slot] = group if to is None else to
            if hop:
                self._news.add(slot)
