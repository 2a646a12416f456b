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
from typing import NamedTuple, Protocol

from globaltable.topology import Topology


class Claim(NamedTuple):
    """`slot`, of the tables of `geo`, went to `group`."""

    geo: str
    slot: int
    order: int
    """Twice the hop, and one more if it is held there; else it may yet be on its way."""
    group: int


class Routes(Protocol):
    """`SlotRoutes`."""

    def take_news(self) -> "list[Claim]": ...


class SlotClaims:
    def __init__(self) -> None:
        self._claims: dict[tuple[str, int], Claim] = {}
        self._untold: dict[tuple[str, int], Claim] = {}
        """Of those of this node's own groups: what peers who know all else do not know."""
        self._owners: dict[str, list[int]] = {}
        self._owners_of = (-1, -1)
        self.moves = 0

    def look(self, routes: Routes) -> None:
        """Take over what is new of what this node's replicas hold."""
        for claim in routes.take_news():
            if self._add(claim):
                self._untold[claim[:2]] = claim

    def hear(self, claims: Iterable[Claim]) -> None:
        """Take over what a peer knows."""
        for claim in claims:
            self._add(claim)

    def _add(self, claim: Claim) -> bool:
        known = self._claims.get(claim[:2])
        before = known.order if known is not None else 0
        if claim.order <= before:
            return False
        self._claims[claim[:2]] = claim
        self.moves += claim.order - before
        return True

    def all(self) -> list[Claim]:
        return list(self._claims.values())

    def by_geo(self) -> dict[str, list[Claim]]:
        claims: dict[str, list[Claim]] = {}
        for claim in self._claims.values():
            claims.setdefault(claim.geo, []).append(claim)
        return claims

    def take_untold(self) -> list[Claim]:
        """What has come up since this was asked last."""
        untold, self._untold = self._untold, {}
        return list(untold.values())

    def owners(self, topology: Topology, geo: str) -> list[int]:
        """By slot of a geo's tables, the group that it was last known to have come to."""
        if self._owners_of != (topology.version, self.moves):
            self._owners_of = (topology.version, self.moves)
            self._owners = {}
        if geo not in self._owners:
            owners = list(topology.dealt_to(geo))
            for claim in self._claims.values():
                # A group that is not known is one that was added, and is heard of soon.
                known = claim.slot < len(owners) and claim.group < len(topology.groups)
                if claim.geo == geo and known:
                    owners[claim.slot] = claim.group
            self._owners[geo] = owners
        return self._owners[geo]
