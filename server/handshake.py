"""Who may talk to whom: the first frame each end of a connection sends, and what it is checked for.

Invariant: nothing of a connection reaches the core before its handshake has passed, so a node of
another cluster, of another version, or no node at all, has no influence.
"""

from typing import Final, NamedTuple

from globaltable.errors import ProtocolError
from globaltable.wire.packing import pack, unpack

MAGIC: Final = "globaltable"
PROTOCOL_VERSION: Final = 2
HELLO_BYTES_MAX: Final = 1_024


class Hello(NamedTuple):
    """What a node says of itself. `to` is the node it believes to talk to; "" if it cannot know.

    `plan` is the digest of who should lead each group by its configuration. One that differs is no
    reason to refuse a peer, for a file is changed on one node after the other; but leadership is
    not handed to it by preference (`globaltable.group`).
    """

    magic: str
    version: int
    cluster: str
    node: str
    to: str
    incarnation: int
    plan: int


def encode_hello(cluster: str, node: str, to: str, incarnation: int, plan: int = 0) -> bytes:
    return pack(Hello(MAGIC, PROTOCOL_VERSION, cluster, node, to, incarnation, plan))


def decode_hello(body: bytes) -> Hello:
    fields = unpack(body)
    kinds = [str, int, str, str, str, int, int]
    if type(fields) is not list or [type(value) for value in fields] != kinds:
        raise ProtocolError("not a handshake")
    return Hello(*fields)


def check_hello(hello: Hello, *, cluster: str, node: str, expected: set[str]) -> None:
    """Raise `ProtocolError`, saying why, unless `hello` comes from one of `expected`."""
    if hello.magic != MAGIC:
        raise ProtocolError(f"magic {hello.magic!r} is not {MAGIC!r}")
    if hello.version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"protocol version {hello.version} is not {PROTOCOL_VERSION}, which {node!r} speaks"
        )
    if hello.cluster != cluster:
        raise ProtocolError(f"cluster {hello.cluster!r} is not {cluster!r}")
    if hello.to not in ("", node):
        raise ProtocolError(f"looking for node {hello.to!r}, but this is {node!r}")
    if hello.node not in expected:
        raise ProtocolError(f"node {hello.node!r} is not one of {sorted(expected)}")
