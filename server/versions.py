"""Which versions of the peers' protocol this node speaks, and which it offers whom.

A node speaks a range of versions, and each release the one of the release before: so nodes of two
neighbouring releases work side by side while they are replaced one after the other. Who dials
offers its newest; who is dialled answers in that version, or refuses and says which it speaks. Who
was refused for its version offers the next older one, and after a connection its newest again: the
other may have been replaced meanwhile.

Invariant: both ends of a link speak the version that was offered and answered on it, and no other.
"""

from typing import Final, NamedTuple


class Versions(NamedTuple):
    """From the oldest to the newest, both spoken."""

    oldest: int
    newest: int

    def speaks(self, version: int) -> bool:
        return self.oldest <= version <= self.newest

    def __str__(self) -> str:
        if self.oldest == self.newest:
            return str(self.newest)
        return f"one of {self.oldest} to {self.newest}"


SPOKEN: Final = Versions(oldest=4, newest=5)
"""5: a handshake says which levels a node understands, and a word of the topology which is in force
(`levels`). 4 is spoken by releases whose words differ (`topology_word.Shape`). Version 3 and before
were never in a release."""
SAYS_LEVELS: Final = 5
VERSION_PREFIX: Final = "protocol version "
"""Begins the reason for which a node is refused that speaks another version; so since version 1."""


class Offers:
    """What is offered to each peer next."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._below: dict[str, int] = {}

    def to(self, peer: str) -> int:
        return self._below.get(peer, self._versions.newest)

    def refused(self, peer: str) -> None:
        """By a peer that does not speak what was offered; below the oldest comes the newest."""
        below = self.to(peer) - 1
        self._below[peer] = below if self._versions.speaks(below) else self._versions.newest

    def begin_anew(self, peer: str) -> None:
        """A connection has ended."""
        self._below.pop(peer, None)
