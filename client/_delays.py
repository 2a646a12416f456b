"""What is tried again, once it has waited for a while: in the order in which it falls due."""

import heapq

from globaltable.client._lanes import AnyTicket


class Delays:
    """Tickets, and when each is due. One that has ended meanwhile is passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, AnyTicket]] = []
        self._count = 0

    def put(self, ticket: AnyTicket, due: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, ticket))

    def take_due(self, now: float) -> list[AnyTicket]:
        due = []
        while self._heap and self._heap[0][0] <= now:
            ticket = heapq.heappop(self._heap)[2]
            if not ticket.done:
                due.append(ticket)
        return due

    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None
