"""Which node is asked next: the nearest that is up.

Responsible for what is known of each node, its round trip and whether it answers. Nodes are named
by their position in the addresses given; a set of nodes is a bit mask. A node that failed is not
asked again before a probe of it has been answered, so that no op pays for finding out, unless no
node is up at all.
"""

from collections.abc import Sequence
from typing import Final, Protocol

_PENALTY_S_FIRST: Final = 0.1
_PENALTY_S_MAX: Final = 1.0
_FAILURES_MAX: Final = 16

# A node counts as farther than the nearest only if it clearly is; otherwise the given order holds.
_FARTHER_RATIO: Final = 1.5
_FARTHER_S: Final = 0.002

_MEASURE_WINDOW_S: Final = 0.02
"""How long opening waits, after the first node has answered, for others that are as near."""

_PROBES_AT_FIRST: Final = 2
"""The first pays for the connection, so that the second measures the round trip."""


class _Node:
    __slots__ = ("failures", "probe_at", "probes", "probing", "round_trip_s", "up")

    def __init__(self, now: float) -> None:
        self.up = False
        self.round_trip_s = float("inf")
        self.failures = 0
        self.probes = 0
        self.probing = False
        self.probe_at: float | None = now


class Asker(Protocol):
    """What has asked some nodes in vain."""

    avoided: int
    """The nodes that have failed it in this round."""


class Nodes:
    """The nodes of one cluster, as one client sees them."""

    def __init__(self, addresses: Sequence[str], now: float) -> None:
        self.addresses = tuple(addresses)
        self._nodes = [_Node(now) for _ in addresses]
        self._up: list[int] = []
        self._all = list(range(len(self._nodes)))
        self._first_up_at: float | None = None

    def choose(self, avoided: int = 0) -> int | None:
        """The best node outside of `avoided`; None if the round over them is complete."""
        for number in self._up or self._all:
            if not avoided >> number & 1:
                return number
        return None

    def next_for(self, asker: Asker) -> int:
        """The node to ask next."""
        node = self.choose(asker.avoided)
        if node is None:
            # Nodes went down or came up since its round began: begin another.
            asker.avoided = 0
            node = self.choose()
            assert node is not None, "there is at least one node"
        return node

    def is_up(self, number: int) -> bool:
        """Whether the node answered last."""
        return self._nodes[number].up

    def answered(self, number: int) -> None:
        """The node answered a call."""
        node = self._nodes[number]
        node.failures = 0
        if not node.up:
            node.up = True
            if node.probes >= _PROBES_AT_FIRST:
                # One that has not been measured is probed all the same: else it stays the farthest.
                node.probe_at = None
            self._order()

    def failed(self, number: int, now: float) -> None:
        """The node could not be reached, hung, or said it serves nothing."""
        node = self._nodes[number]
        # No float holds 2 ** 1024, and a node may fail more often than that.
        node.failures = min(node.failures + 1, _FAILURES_MAX)
        node.probe_at = now + min(_PENALTY_S_MAX, _PENALTY_S_FIRST * 2.0 ** (node.failures - 1))
        node.up = False
        self._order()

    def suspected(self, number: int, now: float) -> None:
        """A call to the node ended before an answer was due: ask the node itself."""
        node = self._nodes[number]
        if node.probe_at is None:
            node.probe_at = now

    # --- probes ----------------------------------------------------------------------------------

    def take_probes(self, now: float) -> list[int]:
        """The nodes to be probed now."""
        due = []
        for number, node in enumerate(self._nodes):
            if node.probe_at is not None and node.probe_at <= now and not node.probing:
                node.probing = True
                node.probe_at = None
                due.append(number)
        return due

    def probe_answered(self, number: int, round_trip_s: float, now: float) -> None:
        """A probe came back."""
        node = self._nodes[number]
        node.probing = False
        node.probes += 1
        node.round_trip_s = min(node.round_trip_s, round_trip_s)
        node.probe_at = now if node.probes < _PROBES_AT_FIRST else None
        node.up = True
        if self._first_up_at is None:
            self._first_up_at = now
        self._order()

    def probe_failed(self, number: int, now: float) -> None:
        """A probe failed."""
        self._nodes[number].probing = False
        self.failed(number, now)

    def ready_at(self) -> float | None:
        """When enough is known to begin: some time after the first answer; None before it."""
        if self._first_up_at is None:
            return None
        if all(node.probes >= _PROBES_AT_FIRST or node.failures for node in self._nodes):
            return self._first_up_at
        return self._first_up_at + _MEASURE_WINDOW_S

    def next_due(self) -> float | None:
        """When a probe is due."""
        return min(
            (n.probe_at for n in self._nodes if n.probe_at is not None and not n.probing),
            default=None,
        )

    # --- order -----------------------------------------------------------------------------------

    def _order(self) -> None:
        up = [number for number in self._all if self._nodes[number].up]
        nearest_s = min((self._nodes[number].round_trip_s for number in up), default=0.0)
        clearly_s = nearest_s * _FARTHER_RATIO + _FARTHER_S

        def distance(number: int) -> float:
            round_trip_s = self._nodes[number].round_trip_s
            return 0.0 if round_trip_s <= clearly_s else round_trip_s

        self._up = sorted(up, key=distance)
