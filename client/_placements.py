"""What each node has said of where new keys commit soonest, and when it is asked again.

Responsible for how old that may be, and for how often a node is asked: one question at a time, and
none within a second of the last. Nobody waits for a node that has answered once, or has failed to:
what is known, however old, can cost latency, not correctness.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from globaltable.v1 import globaltable_pb2 as pb

PATIENCE_S: Final = 0.25
"""How long a create waits for a node's first word, before it takes any group."""

ASK_TIMEOUT_S: Final = 1.0
_FRESH_S: Final = 5.0
_ASKED_S_MIN: Final = 1.0
_GROUPS_MAX: Final = 65_536

# What round trips vary by themselves (`globaltable.placement`).
_NEAR_RATIO: Final = 1.05
_NEAR_S: Final = 0.00025


class Cheapest(NamedTuple):
    """The groups that commit soonest from a node, and how soon."""

    groups: frozenset[int]
    expected_s: float


class _Node:
    __slots__ = ("asked_at", "asking", "cheapest", "doubted", "has_answered")

    def __init__(self) -> None:
        self.cheapest: Cheapest | None = None
        self.has_answered = False
        """Or has failed to, or has been waited for in vain."""
        self.asking = False
        self.asked_at = float("-inf")
        self.doubted = False
        """Something has failed since it was asked."""


class Placements:
    """The words of all nodes that one client asks, by their numbers."""

    def __init__(self) -> None:
        self._nodes: defaultdict[int, _Node] = defaultdict(_Node)
        self._due: list[int] = []

    def look(self, number: int, now: float) -> bool:
        """Whether there is no reason to wait for the node's word. Asks for it if it is due."""
        node = self._nodes[number]
        age_s = now - node.asked_at
        fresh_s = _ASKED_S_MIN if node.doubted or node.cheapest is None else _FRESH_S
        if not node.asking and age_s >= fresh_s:
            node.asking = True
            node.asked_at = now
            node.doubted = False
            self._due.append(number)
        return node.has_answered

    def wanted(self, numbers: Iterable[int]) -> frozenset[int]:
        """The groups that commit soonest from any of some nodes that are equally near; none if that
        is not known. Each node can say it only of what it holds itself."""
        said = [one for number in numbers if (one := self._nodes[number].cheapest) is not None]
        least_s = min((one.expected_s for one in said), default=0.0)
        near_s = max(least_s * _NEAR_RATIO, least_s + _NEAR_S)
        return frozenset().union(*(one.groups for one in said if one.expected_s <= near_s))

    def take_due(self) -> list[int]:
        """The nodes to be asked now."""
        due, self._due = self._due, []
        return due

    def answered(self, number: int, data: bytes) -> None:
        """The node's word has come."""
        node = self._nodes[number]
        node.asking = False
        node.has_answered = True
        node.cheapest = read_placement(data)

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


def placement_request(table: str) -> bytes:
    """Asks a node where a new key of a table is bound soonest."""
    return pb.PlacementRequest(table=table).SerializeToString()


def read_placement(data: bytes) -> Cheapest | None:
    """What a `PlacementResponse` says; None if it names no group that there could be."""
    try:
        answer = pb.PlacementResponse.FromString(data)
    except DecodeError:
        return None
    if len(answer.cheapest) > _GROUPS_MAX or not 0 <= answer.expected_s < float("inf"):
        return None
    groups = frozenset(group for group in answer.cheapest if group < _GROUPS_MAX)
    return Cheapest(groups, answer.expected_s) if groups else None
