"""The newest topology that a node knows, beside its identity, and the one that it founded.

A node without a replica of group 0 starts with what it kept here. What it founded is kept because
the groups that have never changed say nowhere else who their members are, and a file may be edited.

Invariant: what is found is one that was written, whole: it is replaced by a rename, and carries a
checksum.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from globaltable.errors import Corrupt, ProtocolError, StorageError
from globaltable.topology import Topology
from globaltable.wire.topologies import decode_topology, encode_topology

_FILE: Final = "topology"
_NOTHING: Final = "null"


class Known(NamedTuple):
    """`founding` is None for a node that joined."""

    newest: Topology
    founding: Topology | None


def load(directory: Path) -> Known | None:
    """None if nothing has been kept. Raises `Corrupt`, or `StorageError` if it cannot be read."""
    path = directory / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise Corrupt(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    checksum, _, body = text.partition("\n")
    lines = body.splitlines()
    if checksum != _checksum(body) or len(lines) != 2:
        raise Corrupt(
            f"{path} is damaged: its checksum is wrong; take it from the newest backup of this "
            "directory, or have the node rebuilt under another name (globaltable member replace)"
        )
    newest, founding = lines
    try:
        return Known(
            decode_topology(newest), None if founding == _NOTHING else decode_topology(founding)
        )
    except ProtocolError as error:
        raise Corrupt(f"{path} is damaged: {error}") from error


def keep(directory: Path, known: Known) -> None:
    """Durable when it returns. Raises `StorageError` if it cannot be."""
    founding = _NOTHING if known.founding is None else encode_topology(known.founding)
    body = f"{encode_topology(known.newest)}\n{founding}\n"
    path = directory / _FILE
    partial = path.with_suffix(".new")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(f"{_checksum(body)}\n{body}")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def forget(directory: Path) -> None:
    """What this node took for the topology it founded was none."""
    (directory / _FILE).unlink(missing_ok=True)


def _checksum(body: str) -> str:
    return f"{crc32(body.encode()):08x}"
