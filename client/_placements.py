"""What each node has said of where new keys commit soonest, and when it is asked again.

Responsible for how old that may be, and for how often a node is asked: one question at a time, and
none within a second of the last. Nobody waits for a node that has answered once, or has failed to:
what is known, however old, can cost latency, not correctness.
"""

from typing import Final

from google.protobuf.message import DecodeError

from globaltable.client._minting import Wanted
from globaltable.v1 import globaltable_pb2 as pb

PATIENCE_S: Final = 0.25
"""How long a create waits for a node's first word, before it takes any group."""

ASK_TIMEOUT_S: Final = 1.0
_FRESH_S: Final = 5.0
_ASKED_S_MIN: Final = 1.0
_GROUPS_MAX: Final = 65_536


class _Node:
    __slots__ = ("asked_at", "asking", "doubted", "has_answered", "wanted")

    def __init__(self) -> None:
        self.wanted: Wanted | None = None
        self.has_answered = False
        """Or has failed to, or has been waited for in vain."""
        self.asking = False
        self.asked_at = float("-inf")
        self.doubted = False
        """Something has failed since it was asked."""


class Placements:
    """The words of all nodes that one client asks, by their numbers."""

    def __init__(self, nodes: int) -> None:
        self._nodes = [_Node() for _ in range(nodes)]
        self._due: list[int] = []

    def look(self, number: int, now: float) -> bool:
        """Whether there is no reason to wait for the node's word. Asks for it if it is due."""
        node = self._nodes[number]
        age_s = now - node.asked_at
        fresh_s = _ASKED_S_MIN if node.doubted or node.wanted is None else _FRESH_S
        if not node.asking and age_s >= fresh_s:
            node.asking = True
            node.asked_at = now
            node.doubted = False
            self._due.append(number)
        return node.has_answered

    def wanted(self, number: int) -> Wanted | None:
        """The groups that commit soonest from a node; None if that is not known."""
        return self._nodes[number].wanted

    def take_due(self) -> list[int]:
        """The nodes to be asked now."""
        due, self._due = self._due, []
        return due

    def answered(self, number: int, data: bytes) -> None:
        """The node's word has come."""
        node = self._nodes[number]
        node.asking = False
        node.has_answered = True
        node.wanted = read_placement(data)

    def failed(self, number: int) -> None:
        """The node did not say. What it said before stands, but is asked for soon again."""
        node = self._nodes[number]
        node.asking = False
        node.has_answered = True
        node.doubted = True

    def waited_for(self, number: int) -> None:
        """Somebody has waited for the node for as long as anybody does; nobody else need."""
        self._nodes[number].has_answered = True

    def doubt(self, number: int) -> None:
        """An attempt at the node has failed: leaders may have changed. It is asked soon again."""
        self._nodes[number].doubted = True


def read_placement(data: bytes) -> Wanted | None:
    """The groups of a `PlacementResponse`; None if it names none that there could be."""
    try:
        answer = pb.PlacementResponse.FromString(data)
    except DecodeError:
        return None
    # Compared before anything is made of them: they are a stranger's numbers.
    if not 1 <= answer.groups <= answer.slots <= _GROUPS_MAX:
        return None
    among = frozenset(group for group in answer.cheapest if group < answer.groups)
    return Wanted(answer.slots, answer.groups, among) if among else None
