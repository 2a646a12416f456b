"""How the network treats what one region sends to another, as values that a network obeys.

Responsible for the state that faults set and networks (`relay`, `emulator`) look at for each piece
they carry. A fault replaces whole values, so one thread may set them while another looks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Way:
    """One direction between two regions."""

    cut: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Added to the delay at random. Packets overtake each other by it; bytes of a stream do not."""
    bytes_per_s: float | None = None
    loss: float = 0.0
    """The share of packets that is lost. As with `duplicates`, only packets can be."""
    duplicates: float = 0.0


OPEN: Final = Way()


class Ways:
    """All directions; each is open until a fault says otherwise."""

    def __init__(self) -> None:
        self._ways: dict[tuple[str, str], Way] = {}

    def of(self, source: str, target: str) -> Way:
        return self._ways.get((source, target), OPEN)

    def set(self, pairs: Iterable[tuple[str, str]], way: Way) -> None:
        self._ways = {**self._ways, **dict.fromkeys(pairs, way)}

    def open_all(self) -> None:
        self._ways = {}


def both(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs, in both directions."""
    return [way for a, b in pairs for way in ((a, b), (b, a))]


def around(region: str, regions: Iterable[str]) -> list[tuple[str, str]]:
    """From the region to each of the others."""
    return [(region, other) for other in regions if other != region]
