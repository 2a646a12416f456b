"""The data directories that a node has met its peers with: by name, since when, and which.

Kept beside its identity, durable before anything of the peer is heeded (`server.directories`).

Invariant: what is found is one that was written, whole: it is replaced by a rename, and carries a
checksum.
"""

from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from globaltable.errors import Corrupt, ProtocolError, StorageError
from globaltable.store import durable_file
from globaltable.wire.packing import pack, unpack

NODES_MAX: Final = 4_096
ID_CHARACTERS_MAX: Final = 64
_FILE: Final = "directories"
_CHECKSUM_BYTES: Final = 4


class Met(NamedTuple):
    """A node as it was met: the version of the topology that added it, and its directory's id."""

    since: int
    directory: str


def encode_met(met: dict[str, Met]) -> list[list[object]]:
    """As plain values, to be packed with others."""
    return [[name, *one] for name, one in sorted(met.items())]


def decode_met(rows: object) -> dict[str, Met]:
    """Raises `ProtocolError` if it is none."""
    if type(rows) is not list or len(rows) > NODES_MAX:
        raise ProtocolError("not the directories of nodes")
    met = {}
    for row in rows:
        if type(row) is not list or [type(value) for value in row] != [str, int, str]:
            raise ProtocolError("not the directory of a node")
        name, since, directory = row
        if not 0 <= since < 2**63 or not name or len(name.encode()) > 255:
            raise ProtocolError("not the name of a node, and since when it is")
        if not 0 < len(directory) <= ID_CHARACTERS_MAX:
            raise ProtocolError("not the id of a directory")
        met[name] = Met(since, directory)
    return met


def load(directory: Path) -> dict[str, Met]:
    """Empty if nothing has been kept. Raises `Corrupt`, or `StorageError` if it cannot be read."""
    path = directory / _FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    try:
        if checksum != _checksum(body):
            raise ProtocolError("its checksum is wrong")
        return decode_met(unpack(body))
    except ProtocolError as error:
        raise Corrupt(
            f"{path} is damaged: {error}; with all other nodes up it may be deleted: they tell"
        ) from error


def keep(directory: Path, met: dict[str, Met]) -> None:
    """Durable when it returns. Raises `StorageError` if it cannot be."""
    body = pack(encode_met(met))
    durable_file.replace(directory / _FILE, _checksum(body) + body)


def _checksum(body: bytes) -> bytes:
    return crc32(body).to_bytes(_CHECKSUM_BYTES, "big")
