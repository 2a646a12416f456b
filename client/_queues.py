"""What waits to be sent: by kind, and by the nodes that hold what is asked for.

Responsible for the order in which tickets leave, and for which of them travel together: the oldest
of a queue, what follows it to the same node, and what goes there from the other queues of its kind.

Invariant: a ticket stands in one queue at most, and knows it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from globaltable.client._lanes import AnyTicket, Lane

Queue = OrderedDict[AnyTicket, None]


class Queues:
    """Of one client. A route is a set of nodes (`_nodes`)."""

    def __init__(self) -> None:
        self._queues: dict[Lane, dict[int, Queue]] = {}

    @property
    def is_empty(self) -> bool:
        return not any(any(queues.values()) for queues in self._queues.values())

    def put(self, ticket: AnyTicket, route: int, *, first: bool = False) -> None:
        """At the end of its queue, or as the `first` of it."""
        queues = self._queues.get(ticket.lane)
        if queues is None:
            queues = self._queues[ticket.lane] = {}
        queue = queues.get(route)
        if queue is None:
            queue = queues[route] = OrderedDict()
        ticket.route = route
        ticket.queue = queue
        queue[ticket] = None
        if first:
            queue.move_to_end(ticket, last=False)

    def each(self) -> Iterator[tuple[Lane, Queue]]:
        """Every queue; none may be added meanwhile."""
        for lane, queues in self._queues.items():
            for queue in queues.values():
                yield lane, queue

    def take(
        self,
        lane: Lane,
        queue: Queue,
        node: int,
        weight_max: int,
        choose: Callable[[AnyTicket], int],
    ) -> list[AnyTicket]:
        """What goes to the node, where the head of this queue does, and weighs no more together
        but that the head alone may."""
        tickets: list[AnyTicket] = []
        weight = _take_for(node, weight_max, queue, tickets, 0, choose)
        queues = self._queues[lane]
        if len(queues) > 1:
            for other in queues.values():
                if other and weight < weight_max:
                    weight = _take_for(node, weight_max, other, tickets, weight, choose)
        return tickets

    def take_all(self) -> list[AnyTicket]:
        """Every ticket that waits; none does afterwards."""
        waiting = [ticket for _, queue in self.each() for ticket in queue]
        self._queues.clear()
        return waiting


def _take_for(
    node: int,
    weight_max: int,
    queue: Queue,
    tickets: list[AnyTicket],
    weight: int,
    choose: Callable[[AnyTicket], int],
) -> int:
    """Move what goes to the node from the head of a queue to `tickets`, which weigh so much;
    what they weigh then."""
    while queue:
        ticket = next(iter(queue))
        if tickets and weight + ticket.weight > weight_max:
            break
        if choose(ticket) != node:
            break
        weight += ticket.weight
        del queue[ticket]
        tickets.append(ticket)
    return weight
