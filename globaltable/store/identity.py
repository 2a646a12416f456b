"""Whose data a directory holds: it is written once, and compared at every start.

It has an id of its own (`DirectoryId`), drawn when it is made: so that others can tell a node whose
disk was lost from the one that served. Two things are written later: that it was given up, and the
level that its cluster goes by, or is about to (`levels`).

Invariant: a node never serves from a directory that another cluster's or another node's process
wrote, nor from one in a newer format or of a level that it does not understand, nor from one given
up when its cluster was recovered. The level noted never falls.
"""

import fcntl
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from globaltable.errors import ConfigError, ProtocolError, StorageError
from globaltable.levels import FIRST, why_not_understood
from globaltable.wire.packing import pack, shown, unpack

FORMAT_VERSION: Final = 1
_RETIRED_FORMAT: Final = 2
"""So that versions which do not know of it refuse such a directory too."""
_SUCCESSOR: Final = "successor"
_FILE: Final = "identity"


_DIRECTORY: Final = "directory"
_FOUNDS: Final = "founds"
_LEVEL: Final = "level"
_LEVELLED_FORMAT: Final = "level {}: use newer release"
"""Instead of a number: releases without levels refuse it, and show thirty characters of it."""


class DirectoryId(NamedTuple):
    """Which data directory it is. `founds`: what is in it began as a founder's, who votes without
    asking anybody; not so if it came by joining, or by a rebuild of all groups."""

    id: str
    founds: bool


class DamagedIdentity(StorageError):
    """What says whose the directory is does not decode."""


def _record(cluster: str, node: str, groups: int, slots: int) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "cluster": cluster,
        "node": node,
        "groups": groups,
        "slots": slots,
    }


def _with_level(record: dict[str, Any], level: int) -> dict[str, Any]:
    """As it was written before there were levels, while those who wrote it so can read it all."""
    if level == FIRST:
        return record
    return {**record, "format": _LEVELLED_FORMAT.format(level), _LEVEL: level}


def write(
    directory: Path,
    *,
    cluster: str,
    node: str,
    groups: int,
    slots: int,
    directory_id: str,
    level: int = FIRST,
) -> None:
    """Make a directory that is held, and all of which is to be rebuilt, this node's anew."""
    record = _with_level(_record(cluster, node, groups, slots), level)
    try:
        _write(directory / _FILE, {**record, _DIRECTORY: directory_id, _FOUNDS: False})
    except OSError as error:
        raise StorageError(f"data directory {directory} cannot be used: {error}") from error


def noted_level(directory: Path) -> int:
    """Of a directory that is held. Raises `StorageError` if it cannot be told."""
    return _level_in(_read(directory))


def note_level(directory: Path, level: int) -> None:
    """No release that does not understand this level starts on the directory, which is held, any
    more. Durable when it returns. A lower one than is noted changes nothing."""
    found = _read(directory)
    if level > _level_in(found):
        try:
            _write(directory / _FILE, _with_level(found, level))
        except OSError as error:
            raise StorageError(f"data directory {directory} cannot be used: {error}") from error


def _level_in(found: dict[str, Any]) -> int:
    level = found.get(_LEVEL, FIRST)
    if type(level) is not int or level < FIRST:
        raise DamagedIdentity(
            f"{shown(level)} is no level: the identity of the directory is damaged; `globaltable "
            "rebuild --all` has the replicas of this node rebuilt from their peers"
        )
    return level


def _read(directory: Path) -> dict[str, Any]:
    try:
        return dict(unpack((directory / _FILE).read_bytes()))
    except (OSError, ProtocolError, TypeError, ValueError) as error:
        raise StorageError(f"{directory / _FILE} cannot be read: {error}") from error


def retire(
    directory: Path, *, cluster: str, node: str, groups: int, slots: int, successor: str
) -> None:
    """No node starts again on a directory that is held: its cluster goes on as `successor`."""
    record = _record(cluster, node, groups, slots)
    try:
        _write(directory / _FILE, {**record, "format": _RETIRED_FORMAT, _SUCCESSOR: successor})
    except OSError as error:
        raise StorageError(f"data directory {directory} cannot be used: {error}") from error


def successor(directory: Path) -> str:
    """As what the cluster of this directory goes on; empty if it was not retired."""
    return str(_read(directory).get(_SUCCESSOR, ""))


def directory_id(directory: Path) -> DirectoryId | None:
    """Of a directory that is held; None if it is of a version without."""
    found = _read(directory)
    known = found.get(_DIRECTORY)
    return DirectoryId(str(known), bool(found.get(_FOUNDS))) if known else None


def claim(
    directory: Path,
    *,
    cluster: str,
    node: str,
    groups: int,
    slots: int,
    if_damaged: bool = False,
    if_retired: bool = False,
    fresh: DirectoryId | None = None,
) -> int:
    """Make `directory` this node's, or check that it is. Returns a descriptor that holds the lock.
    `fresh` is the id that it has from now on, if it has none.

    Raises `ConfigError` if it is somebody else's, in use, or retired, `StorageError` if the disk
    fails, or if the identity is damaged; `if_damaged` and `if_retired` take it all the same.
    """
    wanted = _record(cluster, node, groups, slots)
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
                _compare(directory, path.read_bytes(), wanted, if_damaged, if_retired)
            else:
                _write(path, wanted)
            if fresh is not None and directory_id(directory) is None:
                record = dict(unpack(path.read_bytes()))
                _write(path, {**record, _DIRECTORY: fresh.id, _FOUNDS: fresh.founds})
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise StorageError(f"data directory {directory} cannot be used: {error}") from error
    return lock


def _compare(
    directory: Path, data: bytes, wanted: dict[str, Any], if_damaged: bool, if_retired: bool
) -> None:
    try:
        found = dict(unpack(data))
    except (ProtocolError, TypeError, ValueError) as error:
        if if_damaged:
            return
        raise DamagedIdentity(
            f"{directory / _FILE} is damaged: {error}; `globaltable rebuild --all` has the "
            "replicas of this node rebuilt from their peers"
        ) from error
    if _SUCCESSOR in found:
        if not if_retired:
            raise ConfigError(
                f"data directory {directory} was given up when its cluster was recovered as "
                f"{shown(found[_SUCCESSOR])}; give the node of that cluster another directory"
            )
        found["format"] = FORMAT_VERSION
    if _LEVEL in found:
        if reason := why_not_understood(_level_in(found)):
            raise ConfigError(f"data directory {directory}: {reason}")
        found["format"] = FORMAT_VERSION
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
