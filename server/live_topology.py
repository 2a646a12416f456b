"""The topology as this node knows it, while it changes: what is newest, and which groups are there.

It comes from three places: the disk, at start; the node's own replica of group 0, in which it is a
binding; and what peers say. The newer wins. Who is behind is told. What is learnt is kept on disk
before anything is done by it.

Invariants: the version never goes back. That a group is settled by a version is said by its leader,
and stays true: so it is passed on, and known wherever a change is asked for.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from globaltable.errors import ProtocolError
from globaltable.server.directories import Directories
from globaltable.server.topology_word import TopologyWord, decode_word, encode_word
from globaltable.store import known_topology
from globaltable.store.known_topology import Known
from globaltable.topology import Topology
from globaltable.topology_change import differences
from globaltable.wire.topologies import decode_topology, encode_topology

log = structlog.get_logger(__name__)


class LiveTopology:
    """Owned by a node, which is told of each new version by `on_change`."""

    def __init__(
        self,
        *,
        node: str,
        directory: Path,
        known: Known,
        directories: Directories,
        tell: Callable[[str, bytes], None],
        peers: Callable[[], Iterable[str]],
        on_change: Callable[[Topology, Topology], None],
        on_plan: Callable[[str, int], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """`tell` says something to one peer; `peers` are the connected; `on_plan` hears of the
        digest of who should lead each group, as a peer has it now; `on_lost`, why this node must
        not go on from the directory it has."""
        self._node = node
        self._directory = directory
        self._known = known
        self._directories = directories
        self._on_lost = on_lost
        self._tell = tell
        self._peers = peers
        self._on_change = on_change
        self._on_plan = on_plan
        self._settled: dict[int, int] = {}

    @property
    def newest(self) -> Topology:
        return self._known.newest

    @property
    def unsettled(self) -> set[int]:
        """Groups of which it is not known that they are as the newest version wants them."""
        version = self.newest.version
        if version == 0:
            return set()
        return {g.number for g in self.newest.groups if self.settled_by(g.number) < version}

    def settled_by(self, group: int) -> int:
        return self._settled.get(group, 0)

    # --- what comes ------------------------------------------------------------------------------

    def adopt(self, topology: Topology) -> bool:
        """Take over a topology if it is newer. Raises `StorageError` if it cannot be kept."""
        before = self.newest
        if topology.version <= before.version:
            return False
        if topology.cluster != before.cluster or len(topology.groups) != len(before.groups):
            raise ProtocolError(
                f"topology {topology.version} is of cluster {topology.cluster!r} and "
                f"{len(topology.groups)} groups; here are {before.cluster!r}, {len(before.groups)}"
            )
        self._known = self._known._replace(newest=topology)
        known_topology.keep(self._directory, self._known)
        for difference in differences(before, topology):
            log.info("topology", version=topology.version, change=difference)
        self._on_change(before, topology)
        self.tell_all()
        return True

    def read(self, text: str) -> None:
        """What stands in the binding."""
        self.adopt(decode_topology(text))

    def settle(self, groups: Iterable[int]) -> None:
        """Groups that are led here, and are as the newest version wants them."""
        new = {g: self.newest.version for g in groups if self.settled_by(g) < self.newest.version}
        if new:
            self._settled.update(new)
            self.tell_all()

    def hear(self, peer: str, body: bytes) -> None:
        """A peer's word. Raises `ProtocolError` if it is none."""
        word = decode_word(body)
        news, lost = self._directories.hear(word.met)
        if lost:
            self._on_lost(lost)
            return
        for group, version in word.settled.items():
            if version > self.settled_by(group) and group < len(self.newest.groups):
                self._settled[group] = version
                news = True
        if word.text:
            news = self.adopt(decode_topology(word.text)) or news
        self._on_plan(peer, word.plan)
        if word.version < self.newest.version:
            self._tell(peer, self._word(encode_topology(self.newest)))
        elif word.version > self.newest.version:
            self._tell(peer, self._word(""))
        elif news:
            self.tell_all()

    # --- what is said ----------------------------------------------------------------------------

    def tell_all(self) -> None:
        for peer in self._peers():
            self._tell(peer, self._word(""))

    def introduce(self, peer: str) -> None:
        """A link has come up."""
        self._tell(peer, self._word(""))

    def _word(self, text: str) -> bytes:
        newest, met = self.newest, self._directories.met
        word = TopologyWord(newest.version, newest.plan_digest, self._settled, text, met)
        return encode_word(word)
