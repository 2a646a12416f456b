"""How close together a client's write requests follow each other: no closer than answers come.

A message costs more than the ops in it, at every node that it comes through. So while
`UNDER_WAY_MAX` requests to a node are under way without any answer, what comes waits for the next
answer, and fills one request: requests are as large as the round trip and the load make them, and
one op alone never waits. But none waits longer than `SPACING_S`, for a request may be held up by
one group that has lost its leader, and the others go on.

Knows nothing of tickets and clocks.
"""

from itertools import islice
from typing import Final

UNDER_WAY_MAX: Final = 4
SPACING_S: Final = 0.05


class Spacing:
    """The requests under way to each node that have had no answer, not even in part."""

    def __init__(self) -> None:
        self._sent_at: dict[int, dict[int, float]] = {}

    def free_at(self, node: int) -> float:
        """When the next request to the node may be sent, if no answer comes before."""
        sent_at = self._sent_at.get(node, {})
        limiting = next(islice(reversed(sent_at.values()), UNDER_WAY_MAX - 1, None), None)
        return limiting + SPACING_S if limiting is not None else float("-inf")

    def sent(self, node: int, number: int, now: float) -> None:
        """A request left. Numbers are never used again."""
        self._sent_at.setdefault(node, {})[number] = now

    def answered(self, node: int, number: int) -> None:
        """It was answered, if only in part, or is over."""
        self._sent_at.get(node, {}).pop(number, None)
