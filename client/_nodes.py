"""Which node is asked next: the nearest that is up.

Responsible for what is known of each node, its round trip and whether it answers. Nodes have
numbers: those given by their position in the addresses given, those that were told of later as they
come; a set of nodes is a bit mask. A node that failed is not asked again before a probe of it has
been answered, so that no op pays for finding out, unless no node that would do is up at all.

Invariant: a number is never used again; those given are never retired.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from globaltable.client._routes import ANY, KnownNode

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
    __slots__ = (
        "address",
        "failures",
        "name",
        "probe_at",
        "probes",
        "probing",
        "region",
        "retired",
        "round_trip_s",
        "up",
    )

    def __init__(self, address: str, now: float) -> None:
        self.address = address
        self.name = ""
        """What it says to be called; empty while it has not said."""
        self.region = ""
        self.retired = False
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
        self._given = tuple(addresses)
        self._nodes = [_Node(address, now) for address in addresses]
        self._up: list[int] = []
        self._all = list(range(len(self._nodes)))
        self._among: dict[int, Sequence[int]] = {}
        """Those that would do, best first, by the set they must be in; until the order changes."""
        self._retired: list[int] = []
        self._first_up_at: float | None = None

    def address(self, number: int) -> str:
        """Where a node is reached."""
        return self._nodes[number].address

    def choose(self, avoided: int = 0, among: int = ANY) -> int | None:
        """The best node of `among` outside of `avoided`; None once the round over them is done."""
        for number in self._among.get(among) or self._candidates(among):
            if not avoided >> number & 1:
                return number
        return None

    def _candidates(self, among: int) -> Sequence[int]:
        candidates = [number for number in self._up if among >> number & 1]
        candidates = candidates or [number for number in self._all if among >> number & 1]
        self._among[among] = candidates = candidates or self._up or self._all
        return candidates

    def nearest(self) -> Sequence[int]:
        """The nodes that are up in the region of the nearest; it alone, if no region is known."""
        region = self._nodes[self._up[0]].region if self._up else ""
        same = [n for n in self._up if region and self._nodes[n].region == region]
        return same or self._up[:1] or self._all[:1]

    def next_for(self, asker: Asker, among: int = ANY) -> int:
        """The node to ask next."""
        node = self.choose(asker.avoided, among)
        if node is None:
            # Nodes went down or came up since its round began: begin another.
            asker.avoided = 0
            node = self.choose(0, among)
            assert node is not None, "there is at least one node"
        return node

    def is_up(self, number: int) -> bool:
        """Whether the node answered last."""
        return self._nodes[number].up

    def answered(self, number: int) -> None:
        """The node answered a call."""
        node = self._nodes[number]
        node.failures = 0
        if not node.up and not node.retired:
            node.up = True
            if node.probes >= _PROBES_AT_FIRST:
                # One that has not been measured is probed all the same: else it stays the farthest.
                node.probe_at = None
            self._order()

    def failed(self, number: int, now: float) -> None:
        """The node could not be reached, hung, or said it serves nothing."""
        node = self._nodes[number]
        if node.retired:
            return
        # No float holds 2 ** 1024, and a node may fail more often than that.
        node.failures = min(node.failures + 1, _FAILURES_MAX)
        node.probe_at = now + min(_PENALTY_S_MAX, _PENALTY_S_FIRST * 2.0 ** (node.failures - 1))
        node.up = False
        self._order()

    def suspected(self, number: int, now: float) -> None:
        """A call to the node ended before an answer was due, or said that it is not what it was
        taken for: ask the node itself."""
        node = self._nodes[number]
        if node.probe_at is None and not node.retired:
            node.probe_at = now

    # --- who there is ----------------------------------------------------------------------------

    def is_named(self, number: int, name: str) -> bool:
        """A node has said what it is called; whether that is news."""
        node = self._nodes[number]
        if not name or name == node.name:
            return False
        node.name = name
        return True

    def learn(self, nodes: Iterable[KnownNode], now: float, *, discover: bool) -> None:
        """These there are. If not to `discover`, nobody is asked but those given."""
        by_address = {node.address: node for node in nodes}
        by_name = {node.name: node for node in nodes}
        for number in self._all:
            own = self._nodes[number]
            known = by_address.get(own.address) or by_name.get(own.name)
            own.region = known.region if known is not None else ""
            if number >= len(self._given) and own.address not in by_address:
                own.retired, own.up, own.probe_at = True, False, None
                self._retired.append(number)
        addresses = {self._nodes[number].address for number in self._all}
        for node in nodes if discover else ():
            if node.address not in addresses:
                self._nodes.append(_Node(node.address, now))
                self._nodes[-1].region = node.region
        self._all = [number for number, node in enumerate(self._nodes) if not node.retired]
        self._order()

    def numbers_of(self, known: KnownNode) -> int:
        """The numbers under which a node is asked: at the address it is known by, and at those
        given at which it says to be."""
        mask = 0
        for number in self._all:
            node = self._nodes[number]
            if node.address == known.address or node.name == known.name:
                mask |= 1 << number
        return mask

    def take_retired(self) -> list[int]:
        """The nodes that are gone since the last look: they are not asked again."""
        retired, self._retired = self._retired, []
        return retired

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

    def look(self, now: float) -> None:
        """Have the nearest node asked what it knows, if it is up."""
        if self._up:
            self.suspected(self._up[0], now)

    def probe_answered(self, number: int, round_trip_s: float, now: float) -> None:
        """A probe came back."""
        node = self._nodes[number]
        node.probing = False
        node.probes += 1
        if node.retired:
            return
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
        if all(node.probes >= _PROBES_AT_FIRST or node.failures for node in self._given_nodes()):
            return self._first_up_at
        return self._first_up_at + _MEASURE_WINDOW_S

    def _given_nodes(self) -> Sequence[_Node]:
        return self._nodes[: len(self._given)]

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

        by_distance = sorted(up, key=distance)
        region = self._nodes[by_distance[0]].region if by_distance else ""
        # Of nodes as near, those of the first one's region: a read there is as new as one of it.
        self._up = sorted(
            by_distance, key=lambda number: (distance(number), self._nodes[number].region != region)
        )
        self._among.clear()
