"""Which data directory each node serves from, as far as this one knows: a lost disk is told by it.

A founder votes and acknowledges from its first start on, for nobody could say yet what it might
have promised before. Were its disk lost and it started on an empty one, it would do so against its
own word. So each node remembers, durably, the directory it has met every other with, before it
heeds anything of it, and tells the others; and it refuses a founder that comes with another. That
one ends, and says what to do: `globaltable rebuild --all`, after which its replicas ask before they
promise anything (`raft.recovery`). Who joined, or was rebuilt, comes with any directory: what is
in it asks by itself.

What this cannot know: of a founder whose disk was lost, a node that was never told by anybody of
the directory before takes the new one for the first. It has to be cut off from all that have met it
since the cluster was founded, and they from the founder.

Invariants: what is known of a node is never forgotten but for a later one of its name, or for a
directory that asks by itself; it is on the disk before the handshake is passed.
"""

from pathlib import Path
from typing import NamedTuple

import structlog

from globaltable.errors import ProtocolError
from globaltable.store import known_directories
from globaltable.store.identity import DirectoryId
from globaltable.store.known_directories import ID_CHARACTERS_MAX, Met

log = structlog.get_logger(__name__)


class Shown(NamedTuple):
    """What a node shows of itself in its handshake."""

    node: str
    since: int
    directory: str
    founds: bool


class Directories:
    """As one node has met, or heard of them."""

    def __init__(self, directory: Path, node: str, since: int, own: DirectoryId) -> None:
        """Raises `StorageError`, or `Corrupt`."""
        self._directory = directory
        self._node = node
        self.own = own
        self._met = known_directories.load(directory)
        self._note({node: Met(since, own.id)})

    @property
    def met(self) -> dict[str, Met]:
        """To be told to others."""
        return self._met

    def _note(self, new: dict[str, Met]) -> None:
        if new.items() <= self._met.items():
            return
        self._met = {**self._met, **new}
        known_directories.keep(self._directory, self._met)

    def meet(self, shown: Shown) -> str:
        """Why a node is refused; empty if it is not: then it is known from now on. Raises
        `ProtocolError` if it shows nothing, `StorageError` if what it shows cannot be kept."""
        if not 0 < len(shown.directory) <= ID_CHARACTERS_MAX:
            raise ProtocolError(f"node {shown.node!r} shows no data directory")
        known = self._met.get(shown.node)
        if known is not None and known.since == shown.since and known.directory != shown.directory:
            if shown.founds:
                return _lost(shown.node)
            log.info("a node that was rebuilt has another directory", peer=shown.node)
        if known is None or known.since <= shown.since:
            self._note({shown.node: Met(shown.since, shown.directory)})
        return ""

    def hear(self, met: dict[str, Met]) -> tuple[bool, str]:
        """What another node has met: whether that is news, and why this one must not go on, if it
        must not. What is known here stands, for who is rebuilt shows itself to each."""
        own = met.get(self._node)
        known = self._met[self._node]
        if own is not None and self.own.founds and own.since == known.since and own != known:
            return False, _lost(self._node)
        new = {
            name: one
            for name, one in met.items()
            if name not in self._met or self._met[name].since < one.since
        }
        new.pop(self._node, None)
        self._note(new)
        return bool(new), ""


def _lost(node: str) -> str:
    return (
        f"node {node} has served from another data directory before, and would vote and "
        "acknowledge against its own word: bring that one back, or, if its disk is lost, run "
        f"`globaltable rebuild --all --node {node} --config FILE` and start it, all other nodes up"
    )
