"""What a stopped node has stored is discarded, and marked as such: `raft.recovery` takes it up.

A replica without its log that does not know so would vote and acknowledge against its own word. So
the mark is durable in the very transaction, or by the very rename, that takes the log away; and the
table goes before it. Cut short at any point, a node either refuses to serve the group as before, or
replays it from a log that is whole, or finds the mark.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from globaltable.errors import StorageError
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import HardState, LogWrite

_DATA: Final = "data.mdb"
_LOCK: Final = "lock.mdb"
"""LMDB's files. The lock means nothing while no process has the data open."""


def _mark(group: int) -> LogWrite:
    """No entry, no term, no vote, but the mark."""
    return LogWrite(group, None, 0, (), HardState(0, None, rebuilding=True))


def discard(directory: Path, groups: Iterable[int]) -> None:
    """Of these groups, in a data directory that the caller holds (`identity`)."""
    wanted = sorted(groups)
    table = LmdbTableStore(directory / "table")
    try:
        for group in wanted:
            table.discard(group)
    finally:
        table.close()
    log = LmdbLogStore(directory / "log")
    try:
        log.commit([_mark(group) for group in wanted])
    finally:
        log.close()


def discard_all(directory: Path, groups: int) -> None:
    """Of all groups of the node, without reading a byte of it."""
    try:
        for name in ("log", "table"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        _empty(directory / "table")
        fresh = directory / "log.new"
        if fresh.exists():
            _empty(fresh)
        log = LmdbLogStore(fresh)
        try:
            log.commit([_mark(group) for group in range(groups)])
        finally:
            log.close()
        (directory / "log" / _LOCK).unlink(missing_ok=True)
        (fresh / _DATA).replace(directory / "log" / _DATA)
        _sync(directory / "log")
        _empty(fresh)
        fresh.rmdir()
        _sync(directory)
    except OSError as error:
        raise StorageError(f"data directory {directory} cannot be emptied: {error}") from error


def _empty(environment: Path) -> None:
    for name in (_DATA, _LOCK):
        (environment / name).unlink(missing_ok=True)
    _sync(environment)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
