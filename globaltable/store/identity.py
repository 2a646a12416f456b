"""Whose data a directory holds: it is written once, and compared at every start.

Invariant: a node never serves from a directory that another cluster's or another node's process
wrote, nor from one in a newer format.
"""

import fcntl
import os
from pathlib import Path
from typing import Any, Final

from globaltable.errors import ConfigError, ProtocolError, StorageError
from globaltable.wire.packing import pack, shown, unpack

FORMAT_VERSION: Final = 1
_FILE: Final = "identity"


def claim(directory: Path, *, cluster: str, node: str, groups: int, slots: int) -> int:
    """Make `directory` this node's, or check that it is. Returns a descriptor that holds the lock.

    Raises `ConfigError` if it is somebody else's or in use, `StorageError` if the disk fails.
    """
    wanted = {
        "format": FORMAT_VERSION,
        "cluster": cluster,
        "node": node,
        "groups": groups,
        "slots": slots,
    }
    path = directory / _FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ConfigError(
                f"data directory {directory} is in use by another process; stop it first"
            ) from error
        try:
            if path.exists():
                _compare(directory, path.read_bytes(), wanted)
            else:
                _write(path, wanted)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise StorageError(f"data directory {directory} cannot be used: {error}") from error
    return lock


def _compare(directory: Path, data: bytes, wanted: dict[str, Any]) -> None:
    try:
        found = dict(unpack(data))
    except (ProtocolError, TypeError, ValueError) as error:
        raise StorageError(f"{directory / _FILE} is damaged: {error}") from error
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ConfigError(
                f"data directory {directory} belongs to {name} {shown(found.get(name))}, this node "
                f"has {name} {value!r}; give each node of each cluster a directory of its own"
            )


def _write(path: Path, wanted: dict[str, Any]) -> None:
    partial = path.with_suffix(".new")
    with partial.open("wb") as file:
        file.write(pack(list(wanted.items())))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
