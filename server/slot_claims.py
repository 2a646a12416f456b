"""Where slots have been moved to, as far as this node knows.

A group claims each slot that was moved into it, and names where it went for each that it released;
with either comes the hop, which counts the moves of that slot (`holdings`). Claims are facts: what
was so at a hop stays so. Of two the one of the higher hop is later; and at the same hop the one by
which the slot is held: who it was released to has adopted it, or who released it has reclaimed it,
and never both. So nodes tell each other theirs, and keep of each slot the latest, in whatever order
they come. A slot without a claim stands where it was dealt to.

Invariant: no claim gives way to an earlier one. So `moves`, the sum of their orders, rises
with each that is news, and tells a newer state from an older one as versions do.
"""

from collections.abc import Iterable
from itertools import starmap
from typing import NamedTuple, Protocol

from globaltable.topology import Topology


class Claim(NamedTuple):
    """`slot` went to `group`."""

    slot: int
    order: int
    """Twice the hop, and one more if it is held there; else it may yet be on its way."""
    group: int


class Routes(Protocol):
    """`SlotRoutes`."""

    def take_news(self) -> list[tuple[int, int, int]]: ...


class SlotClaims:
    def __init__(self) -> None:
        self._claims: dict[int, Claim] = {}
        self._untold: dict[int, Claim] = {}
        """Of those of this node's own groups: what peers who know all else do not know."""
        self._owners: tuple[tuple[int, int], list[int]] = ((-1, -1), [])
        self.moves = 0

    def look(self, routes: Routes) -> None:
        """Take over what is new of what this node's replicas hold."""
        for claim in starmap(Claim, routes.take_news()):
            if self._add(claim):
                self._untold[claim.slot] = claim

    def hear(self, claims: Iterable[Claim]) -> None:
        """Take over what a peer knows."""
        for claim in claims:
            self._add(claim)

    def _add(self, claim: Claim) -> bool:
        known = self._claims.get(claim.slot)
        before = known.order if known is not None else 0
        if claim.order <= before:
            return False
        self._claims[claim.slot] = claim
        self.moves += claim.order - before
        return True

    def all(self) -> list[Claim]:
        return list(self._claims.values())

    def take_untold(self) -> list[Claim]:
        """What has come up since this was asked last."""
        untold, self._untold = self._untold, {}
        return list(untold.values())

    def owners(self, topology: Topology) -> list[int]:
        """By slot, the group that it was last known to have come to."""
        known = (topology.version, self.moves)
        if self._owners[0] != known:
            owners = list(map(topology.group_of_slot, range(topology.slots)))
            for slot, _, group in self._claims.values():
                # A group that is not known is one that was added, and is heard of soon.
                if slot < len(owners) and group < len(topology.groups):
                    owners[slot] = group
            self._owners = (known, owners)
        return self._owners[1]
