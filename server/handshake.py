"""Who may talk to whom: the first frame each end of a connection sends, and what it is checked for.

Invariant: nothing of a connection reaches the core before its handshake has passed, so a node of
another cluster, of another version, or no node at all, has no influence; nor has one that does not
understand the level which this one has noted (`levels`).
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from globaltable.errors import ProtocolError
from globaltable.levels import FIRST, OF_BEFORE, UNDERSTOOD, Levels, why_not_understood
from globaltable.server.directories import Shown
from globaltable.server.versions import SAYS_LEVELS, SPOKEN, VERSION_PREFIX, Versions
from globaltable.store.identity import DirectoryId
from globaltable.wire.packing import pack, unpack

MAGIC: Final = "globaltable"
HELLO_BYTES_MAX: Final = 1_024
SINCE_UNKNOWN: Final = -1
"""Of a node that joins: it has no data, and so cannot be one that was removed."""
REMOVED_PREFIX: Final = "removed: "
"""Begins the reason for which a node is refused for good."""
LOST_PREFIX: Final = "lost: "
"""Begins the reason for which a node is refused that has lost its disk."""
LEVEL_PREFIX: Final = "level: "
"""Begins the reason for which a node is refused that is of too old a release, or too new a one."""
NO_HANDSHAKE: Final = "not a handshake"
"""Why one is refused that says more than was foreseen; of releases before version 5 all that says
more than theirs."""

_KINDS: Final = (str, int, str, str, str, int, int, int, str, bool, int, int)
_LEVELS: Final = 2
"""The last fields, which are of version 5."""


class Hello(NamedTuple):
    """What a node says of itself. `to` is the node it believes to talk to; "" if it cannot know.

    `plan` is the digest of who should lead each group by its configuration. One that differs is no
    reason to refuse a peer, for a file is changed on one node after the other; but leadership is
    not handed to it by preference (`globaltable.group`). `since` is the version of the topology
    that added it: a removed node whose name was given to another is not taken for that one.
    `directory` and `founds` are as in `store.identity`; empty of one that has none yet, and carries
    words of the topology only.
    """

    magic: str
    version: int
    cluster: str
    node: str
    to: str
    incarnation: int
    plan: int
    since: int
    directory: str = ""
    founds: bool = False
    level_oldest: int = OF_BEFORE.oldest
    level_newest: int = OF_BEFORE.newest

    @property
    def levels(self) -> Levels:
        """That the node understands; those of before there were any, if it says nothing of them."""
        return Levels(self.level_oldest, self.level_newest)


def encode_hello(
    cluster: str,
    node: str,
    to: str,
    incarnation: int,
    plan: int = 0,
    since: int = 0,
    directory: DirectoryId | None = None,
    version: int = SPOKEN.newest,
    levels: Levels = UNDERSTOOD,
) -> bytes:
    own = directory or ("", False)
    hello = Hello(MAGIC, version, cluster, node, to, incarnation, plan, since, *own, *levels)
    return pack(hello if version >= SAYS_LEVELS else hello[:-_LEVELS])


def decode_hello(body: bytes) -> Hello:
    fields = unpack(body)
    kinds: tuple[type, ...] = _KINDS
    match fields:
        case [_, int(version), *_] if version < SAYS_LEVELS:
            kinds = _KINDS[:-_LEVELS]
    if type(fields) is not list or tuple(map(type, fields)) != kinds:
        match fields:
            case [str(magic), int(version), *_] if magic == MAGIC and not SPOKEN.speaks(version):
                # Later ones may say more. Who dials hears that it is its version that is refused.
                raise ProtocolError(f"{VERSION_PREFIX}{version} is not {SPOKEN}")
        raise ProtocolError(NO_HANDSHAKE)
    return Hello(*fields)


def check_hello(
    hello: Hello,
    *,
    cluster: str,
    node: str,
    expected: Mapping[str, int],
    versions: Versions = SPOKEN,
    why_removed: Callable[[str, int], str] = lambda name, since: "",
    why_lost: Callable[[Shown], str] = lambda shown: "",
    level: int = FIRST,
) -> None:
    """Raise `ProtocolError`, saying why, unless `hello` comes from one of `expected`, whose values
    are the topology's versions since which they are in it. `why_removed` says of a name and such a
    version why that node is refused for good, if it is; `why_lost`, last, of what one shows of its
    directory. `level` is the one that this node has noted."""
    if hello.magic != MAGIC:
        raise ProtocolError(f"magic {hello.magic!r} is not {MAGIC!r}")
    if not versions.speaks(hello.version):
        raise ProtocolError(
            f"{VERSION_PREFIX}{hello.version} is not {versions}, which {node!r} speaks"
        )
    if hello.cluster != cluster:
        raise ProtocolError(f"cluster {hello.cluster!r} is not {cluster!r}")
    if hello.to not in ("", node):
        raise ProtocolError(f"looking for node {hello.to!r}, but this is {node!r}")
    removed = why_removed(hello.node, hello.since)
    if removed:
        raise ProtocolError(REMOVED_PREFIX + removed)
    # Before it is asked whether it belongs here: who joins must be told even if it is early.
    if reason := why_not_understood(level, hello.levels):
        raise ProtocolError(f"{LEVEL_PREFIX}node {hello.node!r}: {reason}")
    if hello.node not in expected:
        raise ProtocolError(f"node {hello.node!r} is not one of {sorted(expected)}")
    if hello.since not in (SINCE_UNKNOWN, expected[hello.node]) and expected[hello.node] >= 0:
        raise ProtocolError(
            f"node {hello.node!r} is in the topology since version {hello.since}, here since "
            f"{expected[hello.node]}"
        )
    if hello.since == SINCE_UNKNOWN:
        return
    lost = why_lost(Shown(hello.node, hello.since, hello.directory, hello.founds))
    if lost:
        raise ProtocolError(LOST_PREFIX + lost)
