"""Which nodes hold which key, as far as a client has been told: a topology, and what follows of it.

Responsible for believing only what a topology can be, for which of two is newer, and for the set of
holders of each group. A set of nodes is a bit mask over the client's own numbers for them; the sets
that differ are few, as many as there are ways in which groups are dealt out. Knows nothing of which
nodes are up.

Invariants: what is learnt is never older than what was known; while nothing is known, or where no
node is known to hold a group, any node may be asked.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from globaltable.client._settings import is_address
from globaltable.model import SEPARATOR
from globaltable.v1 import globaltable_pb2 as pb

ANY: Final = -1
"""The set of all nodes."""

_NODES_MAX: Final = 1_024
_HOLDERS_MAX: Final = 16
_GROUPS_MAX: Final = 65_536
_NAME_CHARACTERS_MAX: Final = 64
_VERSION_MAX: Final = 2**63 - 1


class KnownNode(NamedTuple):
    """A node of the topology."""

    name: str
    region: str
    address: str


class KnownTopology(NamedTuple):
    """A topology as a node has told it, checked."""

    version: int
    moves: int
    """Of slots between groups: with equal versions, more of them are newer."""
    slots: int
    owners: Sequence[int]
    """Slot s belongs to the group owners[s mod their number]."""
    nodes: Sequence[KnownNode]
    holders: Mapping[int, Sequence[int]]
    """Of each group that may come to hold something of the table: positions in `nodes`."""


class Said(NamedTuple):
    """An answer to Topology."""

    node: str
    """The name of who answered; empty if it does not say."""
    topology: KnownTopology | None
    """None if the caller has it, or it is none."""


def topology_request(table: str, known: KnownTopology | None) -> bytes:
    """Asks a node what it knows beyond what is known here."""
    version, moves = (0, 0) if known is None else (known.version + 1, known.moves)
    request = pb.TopologyRequest(table=table, known_version=version, known_moves=moves)
    return request.SerializeToString()


def read_topology(data: bytes) -> Said:
    """What a `TopologyResponse` says, as far as it can be believed."""
    try:
        response = pb.TopologyResponse.FromString(data)
    except DecodeError:
        return Said("", None)
    node = response.node if len(response.node) <= _NAME_CHARACTERS_MAX else ""
    return Said(node, _checked(response))


def _checked(response: pb.TopologyResponse) -> KnownTopology | None:
    # Compared before anything is made of them: they are a stranger's numbers.
    if not 1 <= len(response.owners) <= response.slots <= _GROUPS_MAX:
        return None
    if not (1 <= len(response.groups) <= _GROUPS_MAX and 1 <= len(response.nodes) <= _NODES_MAX):
        return None
    if max(response.version, response.moves) > _VERSION_MAX:
        return None
    nodes = [KnownNode(node.name, node.region, node.address) for node in response.nodes]
    if not all(0 < len(text) <= _NAME_CHARACTERS_MAX for node in nodes for text in node[:2]):
        return None
    if not all(is_address(node.address) for node in nodes):
        return None
    if any(len({node[part] for node in nodes}) != len(nodes) for part in (0, 2)):
        return None
    if max(response.owners) >= len(response.groups):
        return None
    if any(response.groups[owner].of_others for owner in set(response.owners)):
        return None
    if not all(
        1 <= len(group.holders) <= _HOLDERS_MAX and max(group.holders) < len(nodes)
        for group in response.groups
    ):
        return None
    owners = list(response.owners)
    holders = {
        number: tuple(group.holders)
        for number, group in enumerate(response.groups)
        if not group.of_others
    }
    version, moves = response.version, response.moves
    return KnownTopology(version, moves, response.slots, owners, nodes, holders)


class Routes:
    """Who holds the keys of one table."""

    def __init__(self, table: str) -> None:
        self.known: KnownTopology | None = None
        self.only: int | None = ANY
        """The nodes that hold every group, if all groups have the same holders."""
        self.changes = 0
        """How often anything of this has changed."""
        self._checksum = zlib.crc32(table.encode() + SEPARATOR)
        """Of what every name begins with: `topology.slot_of` goes on from there."""
        self.owning: frozenset[int] = frozenset()
        """The groups that hold slots."""
        self._by_owner: list[int] = []
        self._by_group: dict[int, int] = {}
        self._slots: dict[int, int] = {}

    def is_news(self, topology: KnownTopology) -> bool:
        """Whether it is newer than what is known."""
        return self.known is None or topology[:2] > self.known[:2]

    def learn(self, topology: KnownTopology, numbers_of: Callable[[KnownNode], int]) -> bool:
        """Take a topology for true, of which `numbers_of` says under which numbers a node is
        asked; whether any key goes elsewhere for it."""
        before = (self.known and self.known[2:4], self._by_group)
        masks = [numbers_of(node) for node in topology.nodes]
        by_holders: dict[Sequence[int], int] = {}
        for holders in set(topology.holders.values()):
            mask = 0
            for holder in holders:
                mask |= masks[holder]
            by_holders[holders] = mask or ANY
        self.known = topology
        # Of those too that hold no slots yet: who watches is there before the first one comes.
        self._by_group = {group: by_holders[holders] for group, holders in topology.holders.items()}
        self.owning = frozenset(topology.owners)
        self._by_owner = [self._by_group[group] for group in topology.owners]
        distinct = set(self._by_owner)
        self.only = distinct.pop() if len(distinct) == 1 else None
        self._slots = {}
        changed = before != (topology[2:4], self._by_group)
        self.changes += changed
        return changed

    def of_key(self, key: str) -> int:
        """The nodes that hold a key."""
        if self.only is not None:
            return self.only
        assert self.known is not None, "several sets of holders are known of"
        slot = zlib.crc32(key.encode(), self._checksum) % self.known.slots
        return self._by_owner[slot % len(self._by_owner)]

    def of_keys(self, keys: Iterable[str]) -> Mapping[int, Sequence[int]]:
        """The positions of keys, by the nodes that hold them."""
        positions: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            positions.setdefault(self.of_key(key), []).append(position)
        return positions

    def groups(self) -> Mapping[int, Sequence[int]]:
        """The groups of the table, by the nodes that hold them."""
        groups: dict[int, list[int]] = {}
        for group, mask in self._by_group.items():
            groups.setdefault(mask, []).append(group)
        return groups

    def all_groups(self) -> Iterable[int]:
        """The groups of the table; none while nothing is known."""
        return self._by_group

    def slots(self) -> Mapping[int, int]:
        """The slots of the table, as a bit mask, by the nodes that hold them."""
        if not self._slots and self.known is not None:
            bits: dict[int, bytearray] = {}
            for slot in range(self.known.slots):
                mask = self._by_owner[slot % len(self._by_owner)]
                own = bits.setdefault(mask, bytearray(self.known.slots // 8 + 1))
                own[slot >> 3] |= 1 << (slot & 7)
            self._slots = {mask: int.from_bytes(own, "little") for mask, own in bits.items()}
        return self._slots
