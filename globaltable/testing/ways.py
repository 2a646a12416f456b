"""How the network treats what one region sends to another, as values that a network obeys.

Responsible for the state that faults set. The `relay` looks at it for each piece it carries, and
the `emulator` is told. A fault replaces whole values, so one thread may set them while another
looks.
"""

from collections.abc import Iterable

from globaltable.bench.way import OPEN as OPEN
from globaltable.bench.way import Way as Way


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

    def changed(self) -> list[tuple[str, str]]:
        """The directions of which something was said since all were open."""
        return list(self._ways)


def both(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs, in both directions."""
    return [way for a, b in pairs for way in ((a, b), (b, a))]


def around(region: str, regions: Iterable[str]) -> list[tuple[str, str]]:
    """From the region to each of the others."""
    return [(region, other) for other in regions if other != region]
