"""Creates that wait for their key, until the nodes that are nearest have said where it is cheapest.

Responsible for how long a create waits for that, and for asking the nodes. The key is minted once:
see `_creating`.

Invariant: creates are minted in the order in which they came, and none waits longer than its
patience for a node that has not answered.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from globaltable.client._calls import Call
from globaltable.client._creating import CreateTicket
from globaltable.client._minting import Wanted, mint
from globaltable.client._placements import ASK_TIMEOUT_S, PATIENCE_S, Placements, placement_request
from globaltable.client._routes import Routes


class Unminted:
    """`draw` gives so many random bits. Keys are for the whole cluster, so what they are drawn from
    must be like no other client's."""

    def __init__(self, table: str, draw: Callable[[int], int]) -> None:
        self._table = table
        self._draw = draw
        self._placements = Placements()
        self._request = placement_request(table)
        self._waiting: OrderedDict[CreateTicket, float] = OrderedDict()
        """And when they wait no longer for a node to say where."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, ticket: CreateTicket, now: float) -> None:
        self._waiting[ticket] = now + PATIENCE_S

    def discard(self, ticket: CreateTicket) -> None:
        """It has ended, with a key or without."""
        self._waiting.pop(ticket, None)

    def next_due(self) -> float | None:
        """When a create has waited for long enough."""
        return next(iter(self._waiting.values()), None)

    def mint(self, nearest: Sequence[int], routes: Routes, now: float) -> list[CreateTicket]:
        """Give creates their keys: as the nodes that are nearest have said, or any if they have not
        said anything in time. Those that have got one."""
        minted = []
        for ticket, patient_until in list(self._waiting.items()):
            silent = [node for node in nearest if not self._placements.look(node, now)]
            if silent and now < patient_until:
                # Those behind it are more patient, and wait for the same word.
                break
            for node in silent:
                self._placements.waited_for(node)
            del self._waiting[ticket]
            key = mint(self._table, ticket.prefix, self._wanted(nearest, routes), self._draw)
            ticket.payload = ticket.payload._replace(key=key)
            minted.append(ticket)
        return minted

    def _wanted(self, nearest: Iterable[int], routes: Routes) -> Wanted | None:
        known = routes.known
        if known is None:
            return None
        among = self._placements.wanted(nearest) & routes.owning
        return Wanted(known.slots, known.owners, among) if among else None

    # --- what nodes say --------------------------------------------------------------------------

    def take_calls(self, now: float) -> list[Call]:
        """Which nodes are to be asked now."""
        return [
            Call("Placement", node, self._request, ASK_TIMEOUT_S, now, None)
            for node in self._placements.take_due()
        ]

    def answered(self, node: int, data: bytes) -> None:
        self._placements.answered(node, data)

    def failed(self, node: int) -> None:
        self._placements.failed(node)

    def doubt(self, node: int) -> None:
        """An attempt at the node has failed: what it said may hold no longer."""
        self._placements.doubt(node)
