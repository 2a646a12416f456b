"""A read that no node can answer alone, in parts of which each goes to other nodes.

Responsible for which key is in which part, and for putting the answers together again. A part is a
ticket like any other, and may come apart in turn when its keys' groups do.
"""

from typing import Any

from globaltable.client._lanes import AnyTicket, Ticket
from globaltable.client._routes import Routes


class ReadPart(Ticket[list[Any]]):
    """Some of the keys of `whole`."""

    __slots__ = ("positions", "whole")

    def __init__(self, whole: AnyTicket, positions: list[int]) -> None:
        payload = [whole.payload[position] for position in positions]
        super().__init__(whole.lane, payload, None, weight=len(payload))
        self.deadline = whole.deadline
        self.whole = whole
        self.positions = positions


class Gathering:
    """The parts of one read, and the answers to them that have come."""

    def __init__(self, whole: AnyTicket, routes: Routes) -> None:
        by_holders = routes.of_keys(whole.payload)
        self.parts = [ReadPart(whole, list(positions)) for positions in by_holders.values()]
        self.values: list[Any] = [None] * len(whole.payload)
        self._missing = len(self.parts)

    def took(self, part: ReadPart, answers: list[Any]) -> bool:
        """A part is answered; whether that was the last."""
        for position, answer in zip(part.positions, answers, strict=True):
            self.values[position] = answer
        self._missing -= 1
        return not self._missing
