"""The topology as this node knows it, while it changes: what is newest, and which groups are there.

It comes from three places: the disk, at start; the node's own replica of group 0, in which it is a
binding; and what peers say. The newer wins. Who is behind is told. What is learnt is kept on disk
before anything is done by it.

The level in force comes along. At version 0 nobody has decided it: each founder knows it by its own
directory, and says so. Who has lost that is told; two who were founded at different levels are not
of one founding, and refuse each other.

Invariants: the version never goes back, nor the level; a level is noted in the data directory
before it is known here (`levels`). That a group is settled by a version is said by its leader,
and stays true: so it is passed on, and known wherever a change is asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from globaltable.errors import NewerFormat, ProtocolError
from globaltable.levels import FIRST, why_not_understood
from globaltable.members import Members
from globaltable.server.directories import Directories
from globaltable.server.slot_claims import Claim, SlotClaims
from globaltable.server.topology_word import (
    UNKNOWN,
    Shape,
    TopologyWord,
    decode_word,
    encode_word,
)
from globaltable.server.versions import SAYS_LEVELS, SPOKEN
from globaltable.store import identity, known_topology
from globaltable.store.known_topology import LOST, Known
from globaltable.topology import Topology
from globaltable.topology_change import differences, require_successor
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
        claims: SlotClaims,
        directories: Directories,
        tell: Callable[[str, bytes], None],
        peers: Callable[[], Iterable[str]],
        on_change: Callable[[Topology, Topology], None],
        on_plan: Callable[[str, int], None],
        on_lost: Callable[[str], None],
        protocol_of: Callable[[str], int] = lambda peer: SPOKEN.newest,
        noted_level: int = FIRST,
    ) -> None:
        """`tell` says something to one peer; `peers` are the connected; `on_plan` hears of the
        digest of who should lead each group, as a peer has it now; `on_lost`, why this node must
        not go on from the directory it has; `protocol_of` is the version spoken with a peer;
        `noted_level`, what the directory says."""
        self._node = node
        self._directory = directory
        self._known = known
        self.claims = claims
        self._directories = directories
        self._on_lost = on_lost
        self._tell = tell
        self._peers = peers
        self._on_change = on_change
        self._on_plan = on_plan
        self._protocol_of = protocol_of
        self._settled: dict[int, int] = {}
        self._shapes: dict[str, Shape] = {}
        """Of the words of each peer of version 4 that has spoken since its link came up."""
        self._noted_level = max(noted_level, known.newest.level)
        self._text: tuple[Topology | None, str] = (None, "")

    @property
    def newest(self) -> Topology:
        return self._known.newest

    @property
    def text(self) -> str:
        """Of the newest."""
        if self._text[0] is not self.newest:
            self._text = (self.newest, encode_topology(self.newest))
        return self._text[1]

    @property
    def noted_level(self) -> int:
        """What a release must understand to start on this node's directory: the level in force, or
        one that is about to be."""
        return self._noted_level

    def note_level(self, level: int) -> None:
        """Durable when it returns. Raises `StorageError`."""
        if level > self._noted_level:
            identity.note_level(self._directory, level)
            self._noted_level = level
            log.info("level noted: no older release starts here any more", feature_level=level)

    @property
    def unsettled(self) -> set[int]:
        """Groups of which it is not known that they are as the newest version wants them."""
        version = self.newest.version
        if version == 0:
            return set()
        return {g.number for g in self.newest.groups if self.settled_by(g.number) < version}

    def founders_of(self, group: int) -> Members | None:
        """The first members of a group, if this node is one of them."""
        for founded in self._known.founded:
            if founded.number == group and self._node in founded.replicas:
                return Members(founded.replicas)
        return None

    def is_current(self) -> None:
        """What is known now is as new as anything that was decided before this process began."""
        if self._known.founds_after == LOST:
            self._known = self._known._replace(founds_after=self.newest.version)
            known_topology.keep(self._directory, self._known)

    def settled_by(self, group: int) -> int:
        return self._settled.get(group, 0)

    # --- what comes ------------------------------------------------------------------------------

    def adopt(self, topology: Topology) -> bool:
        """Take over a topology if it is newer. Raises `StorageError` if it cannot be kept."""
        before = self.newest
        if topology.version <= before.version:
            return False
        require_successor(before, topology)
        self._take_over(topology)
        return True

    def _take_over(self, topology: Topology) -> None:
        before = self.newest
        self.note_level(topology.level)
        self._known = self._known._replace(newest=topology)
        known_topology.keep(self._directory, self._known)
        for difference in differences(before, topology):
            log.info("topology", version=topology.version, change=difference)
        self._on_change(before, topology)
        self.tell_all()

    @property
    def _founding_level(self) -> int:
        """`UNKNOWN` of who had its data discarded, until it is told."""
        lost = self._known.founds_after == LOST and self.newest.level == FIRST
        return UNKNOWN if lost else self.newest.level

    def _hear_founding_level(self, peer: str, level: int) -> None:
        """Of a peer that knows version 0, as this node does."""
        if level in (UNKNOWN, self.newest.level):
            return
        if self._founding_level != UNKNOWN:
            raise ProtocolError(
                f"{peer} was founded at level {level}, and this node at level {self.newest.level}: "
                "one of them began with an empty directory beside others that had served; where "
                "it is, run `globaltable rebuild --all` and start it again"
            )
        if reason := why_not_understood(level):
            raise NewerFormat(reason)
        self._take_over(replace(self.newest, level=level))

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
        # The text comes first: what is settled may be groups that it adds.
        news |= bool(word.text) and self.adopt(decode_topology(word.text))
        for group, version in word.settled.items():
            if version > self.settled_by(group) and group < len(self.newest.groups):
                self._settled[group] = version
                news = True
        self.claims.hear(word.claims)
        self._on_plan(peer, word.plan)
        if self._protocol_of(peer) < SAYS_LEVELS and peer not in self._shapes:
            self._shapes[peer] = word.shape
            self._say(peer, "", self.claims.all())
        if word.version < self.newest.version:
            self._say(peer, self.text)
        elif word.version > self.newest.version:
            self._say(peer, "")
        elif news:
            self.tell_all()
        if word.version == self.newest.version == 0:
            self._hear_founding_level(peer, word.level)

    # --- what is said ----------------------------------------------------------------------------

    def tell_all(self) -> None:
        for peer in self._peers():
            self._say(peer, "")

    def tell_claims(self) -> None:
        """What is new of where slots have come to, by this node's own replicas. What is heard of
        the others' is not passed on: they tell it themselves."""
        untold = self.claims.take_untold()
        if untold:
            for peer in self._peers():
                self._say(peer, "", untold)

    def introduce(self, peer: str) -> None:
        """A link has come up."""
        self._shapes.pop(peer, None)
        self._say(peer, "", self.claims.all())

    def _say(self, peer: str, text: str, claims: Sequence[Claim] = ()) -> None:
        """As the peer understands it; nothing until that is known."""
        shape = self._shapes.get(peer)
        if self._protocol_of(peer) >= SAYS_LEVELS:
            shape = Shape.WITH_LEVEL
        if shape is not None:
            newest, met = self.newest, self._directories.met
            what = (newest.version, newest.plan_digest, self._settled, text, met, claims)
            level = newest.level if newest.version else self._founding_level
            self._tell(peer, encode_word(TopologyWord(*what, level, shape)))
