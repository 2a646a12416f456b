"""How a network treats what one node sends to another, as values that a test sets.

Responsible for remembering what was said of each direction; `relay` asks for it while it carries.
A fault replaces whole values, so one thread may set them while another looks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Way:
    """One direction between two nodes, or regions."""

    cut: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Added to the delay at random. Packets overtake each other by it; bytes of a stream do not."""
    bytes_per_s: float | None = None
    loss: float = 0.0
    """The share of packets that is lost. As with `duplicates`, only packets can be."""
    duplicates: float = 0.0


OPEN: Final = Way()

Pair = tuple[str, str]


class Ways:
    """All directions; each is open until a fault says otherwise."""

    def __init__(self) -> None:
        self._ways: dict[Pair, Way] = {}

    def of(self, source: str, target: str) -> Way:
        return self._ways.get((source, target), OPEN)

    def set(self, pairs: Iterable[Pair], way: Way) -> None:
        self._ways = {**self._ways, **dict.fromkeys(pairs, way)}

    def change(self, pairs: Iterable[Pair], change: Callable[[Way], Way]) -> None:
        """Make of each way that there is another."""
        self._ways = {**self._ways, **{pair: change(self.of(*pair)) for pair in pairs}}

    def open_all(self) -> None:
        self._ways = {}

    def changed(self) -> list[Pair]:
        """The directions of which something was said since all were open."""
        return list(self._ways)


def both(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, in both directions."""
    return [way for a, b in pairs for way in ((a, b), (b, a))]


def around(node: str, nodes: Iterable[str]) -> list[Pair]:
    """From the node to each of the others."""
    return [(node, other) for other in nodes if other != node]
