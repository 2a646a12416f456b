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
from globaltable.model import SEPARATOR
from globaltable.topology import Topology, slot_of

_TABLES_REMEMBERED: Final = 1_024
_UNKNOWN: Final = -1
"""Below the hop at which slots are dealt."""


class SlotRoutes:
    """By geo, for each has groups of its own that share its slots."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._slots = topology.slots
        self._known: dict[int, Holdings] = {}
        self._groups: dict[str, list[int]] = {}
        """By geo and slot."""
        self._tables: dict[bytes, list[int]] = {}
        """The same, by table, of those that were asked for."""
        self._compute()

    def group_of_slot(self, slot: int, table: str = "") -> int:
        """Of a slot of a table; of those of no geo by default."""
        return self._groups[self._topology.geo_of(table).name][slot]

    def group_of(self, name: bytes) -> int:
        return self._of_table(name)[slot_of(name, self._slots)]

    def groups_of(self, names: Iterable[bytes]) -> list[int]:
        """`group_of` for many names: without a call for each, if there is one geo only."""
        slots = self._slots
        if self._topology.geos:
            return [self._of_table(name)[crc32(name) % slots] for name in names]
        groups = self._groups[""]
        return [groups[crc32(name) % slots] for name in names]

    def _of_table(self, name: bytes) -> list[int]:
        if not self._topology.geos:
            return self._groups[""]
        table = name.partition(SEPARATOR)[0]
        groups = self._tables.get(table)
        if groups is None:
            groups = self._groups[self._topology.geo_of(table.decode()).name]
            if len(self._tables) < _TABLES_REMEMBERED:
                self._tables[table] = groups
        return groups

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
        geo = self._geo_of(group)
        for slot in slots:
            self._groups[geo][slot] = self._compute_slot(geo, slot)

    def forget(self, group: int) -> None:
        if self._known.pop(group, None) is not None:
            self._compute()

    def _geo_of(self, group: int) -> str:
        groups = self._topology.groups
        return groups[group].geo if group < len(groups) else ""

    def _owner(self, geo: str, slot: int) -> int:
        """By the topology."""
        if not geo:
            return self._topology.group_of_slot(slot)
        groups = self._topology.groups_in(geo)
        return groups[slot % len(groups)].number

    def _compute(self) -> None:
        geos = ["", *(geo.name for geo in self._topology.geos)]
        slots = range(self._slots)
        self._tables.clear()
        self._groups = {geo: [self._owner(geo, slot) for slot in slots] for geo in geos}
        hops = {geo: [_UNKNOWN] * self._slots for geo in geos}
        for group, holdings in self._known.items():
            geo = self._geo_of(group)
            for slot, hop, to in holdings.claims:
                if hop > hops[geo][slot]:
                    hops[geo][slot] = hop
                    self._groups[geo][slot] = group if to is None else to

    def _compute_slot(self, geo: str, slot: int) -> int:
        highest, found = _UNKNOWN, self._owner(geo, slot)
        for group, holdings in self._known.items():
            claim = holdings.claim(slot) if self._geo_of(group) == geo else None
            if claim is not None and claim[0] > highest:
                highest, to = claim
                found = group if to is None else to
        return found
