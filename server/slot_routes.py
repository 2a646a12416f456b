"""Which group holds each slot, as far as this node knows: where ops, reads and watches go.

Known is what the node's own replicas have applied. Each move of a slot raises its hop, so of what
several replicas say the highest hop counts, be it that a group holds the slot or that it has
released it to another. Of a slot that none of them has ever held, the topology says where it is to
be.

What is known may be old, and then costs a round trip: the group that is asked refuses what is on a
slot that it does not hold (`table`). A replica that is out of service is remembered for what it
knew.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

from globaltable.holdings import Holdings
from globaltable.model import SEPARATOR
from globaltable.server.slot_claims import Claim
from globaltable.topology import TABLES_REMEMBERED, Topology, slot_of

_UNKNOWN: Final = -1
"""Below the order of a slot where it was dealt."""


class _Space:
    """The slots of one geo's tables."""

    def __init__(self, dealt: Sequence[int]) -> None:
        self.groups = list(dealt)
        """By slot."""
        self.orders = [_UNKNOWN] * len(dealt)
        """By slot: twice the hop at which it came there, and one more if it is held there. None
        gives way to a lower one."""


class SlotRoutes:
    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._slots = topology.slots
        self._known: dict[int, Holdings] = {}
        self._spaces: dict[str, _Space] = {}
        self._by_table: dict[bytes, list[int]] = {}
        """By the name of a table, for as many as may be remembered, the groups of its slots."""
        self._news: set[tuple[str, int]] = set()
        self._compute()

    def of_table(self, table: str) -> Sequence[int]:
        """By slot of a table, the group."""
        return self._groups_of(table.encode())

    def group_of(self, name: bytes) -> int:
        groups = self._groups_of(name.partition(SEPARATOR)[0]) if self._topology.geos else self._all
        return groups[slot_of(name, self._slots)]

    def groups_of(self, names: Iterable[bytes]) -> list[int]:
        """`group_of` for many names: without a call for each."""
        groups, slots = self._all, self._slots
        if not self._topology.geos:
            return [groups[crc32(name) % slots] for name in names]
        by_table = self._groups_of
        return [by_table(name.partition(SEPARATOR)[0])[crc32(name) % slots] for name in names]

    def set_topology(self, topology: Topology) -> None:
        self._topology = topology
        self._compute()

    def learn(self, group: int, holdings: Holdings) -> None:
        """What a replica of a group holds, which was added, or whose table was replaced."""
        self._known[group] = holdings
        space = self._space_of(group)
        for slot, hop, to in holdings.claims:
            self._take(space, group, slot, hop, to)

    def moved(self, group: int, holdings: Holdings, slots: Iterable[int]) -> None:
        """What a replica of a group holds, which differs in these slots only."""
        self._known[group] = holdings
        space = self._space_of(group)
        for slot in slots:
            claim = holdings.claim(slot)
            if claim is not None:
                self._take(space, group, slot, *claim)

    def forget(self, group: int) -> None:
        if self._known.pop(group, None) is not None:
            self._compute()

    def take_news(self) -> list[Claim]:
        """Of the slots of which something was learnt since this was asked last; none of those that
        are where they were dealt."""
        news, self._news = self._news, set()
        spaces = self._spaces
        return [
            Claim(geo, slot, spaces[geo].orders[slot], spaces[geo].groups[slot])
            for geo, slot in news
        ]

    @property
    def _all(self) -> list[int]:
        """Of the default geo."""
        return self._spaces[""].groups

    def _groups_of(self, table: bytes) -> list[int]:
        groups = self._by_table.get(table)
        if groups is None:
            groups = self._spaces[self._topology.geo_of(table.decode()).name].groups
            if len(self._by_table) < TABLES_REMEMBERED:
                self._by_table[table] = groups
        return groups

    def _space_of(self, group: int) -> str:
        """The geo of a group; one that the topology does not know yet was added to none."""
        groups = self._topology.groups
        return groups[group].geo if group < len(groups) else ""

    def _compute(self) -> None:
        topology = self._topology
        geos = ("", *(geo.name for geo in topology.geos))
        self._spaces = {geo: _Space(topology.dealt_to(geo)) for geo in geos}
        self._by_table.clear()
        for group, holdings in self._known.items():
            space = self._space_of(group)
            for slot, hop, to in holdings.claims:
                self._take(space, group, slot, hop, to)

    def _take(self, geo: str, group: int, slot: int, hop: int, to: int | None) -> None:
        # At one hop a slot is held by who it was released to, or again by who released it.
        order = 2 * hop + (to is None)
        space = self._spaces[geo]
        if order > space.orders[slot]:
            space.orders[slot] = order
            space.groups[slot] = group if to is None else to
            if hop:
                self._news.add((geo, slot))
