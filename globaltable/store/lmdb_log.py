"""The log in LMDB: one environment for all groups of a node.

Invariants: `commit` is one transaction, durable when it returns (group commit over all groups);
every entry carries a checksum over its place and content; entries of a group are contiguous.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import lmdb

from globaltable.errors import Corrupt, ProtocolError, StorageError
from globaltable.store.log import Entry, HardState, LogImage, LogWrite
from globaltable.wire.packing import pack, unpack

MAP_BYTES_INITIAL: Final = 1 << 30
_GROUP_BYTES: Final = 2
_INDEX_BYTES: Final = 8
_CRC_BYTES: Final = 4
_TERM_BYTES: Final = 8
_HEAD_BYTES: Final = _CRC_BYTES + _TERM_BYTES


def _group_key(group: int) -> bytes:
    return group.to_bytes(_GROUP_BYTES, "big")


def _entry_key(group: int, index: int) -> bytes:
    return _group_key(group) + index.to_bytes(_INDEX_BYTES, "big")


def _sealed(key: bytes, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(_CRC_BYTES, "big") + body


def _unsealed(key: bytes, value: bytes, what: str) -> bytes:
    crc, body = value[:_CRC_BYTES], value[_CRC_BYTES:]
    if zlib.crc32(body, zlib.crc32(key)).to_bytes(_CRC_BYTES, "big") != crc:
        raise Corrupt(f"{what} fails its checksum")
    return body


class LmdbLogStore:
    """Used by one thread at a time; nothing else may hold a transaction on its environment."""

    def __init__(self, directory: Path, *, map_bytes: int = MAP_BYTES_INITIAL) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        try:
            self._env = lmdb.open(
                str(directory), map_size=map_bytes, max_dbs=2, max_readers=8, readahead=False
            )
            self._entries = self._env.open_db(b"entries")
            self._states = self._env.open_db(b"states")
        except lmdb.Error as error:
            raise StorageError(
                f"log {directory} cannot be opened: {error}; if it is damaged, `globaltable "
                "rebuild --all` has the replicas of this node rebuilt from their peers"
            ) from error

    def close(self) -> None:
        self._env.close()

    def groups(self) -> list[int]:
        try:
            with self._env.begin() as transaction, transaction.cursor(self._states) as cursor:
                return [int.from_bytes(key, "big") for key in cursor.iternext(values=False)]
        except lmdb.Error as error:
            raise Corrupt(f"log {self._directory} cannot be read: {error}") from error

    def load(self, group: int) -> LogImage:
        try:
            with self._env.begin() as transaction:
                state = transaction.get(_group_key(group), db=self._states)
                entries = self._load_entries(group, transaction)
        except lmdb.Error as error:
            raise Corrupt(f"log of group {group} cannot be read: {error}") from error
        if state is None:
            if entries:
                raise Corrupt(f"group {group} has log entries but no term")
            return LogImage()
        body = _unsealed(_group_key(group), state, f"term and vote of group {group}")
        try:
            hard_state = HardState(*unpack(body))
        except (ProtocolError, TypeError, ValueError) as error:
            raise Corrupt(f"term and vote of group {group} do not decode: {error}") from error
        if not entries and not hard_state.marked:
            raise Corrupt(f"group {group} has a term but no log entries")
        return LogImage(entries, hard_state)

    def _load_entries(self, group: int, transaction: lmdb.Transaction) -> tuple[Entry, ...]:
        entries: list[Entry] = []
        prefix = _group_key(group)
        with transaction.cursor(self._entries) as cursor:
            found = cursor.set_range(prefix)
            while found and (key := bytes(cursor.key())).startswith(prefix):
                index = int.from_bytes(key[_GROUP_BYTES:], "big")
                what = f"log entry {index} of group {group}"
                body = _unsealed(key, bytes(cursor.value()), what)
                if entries and index != entries[-1].index + 1:
                    raise Corrupt(f"{what} follows entry {entries[-1].index}; some are missing")
                term = int.from_bytes(body[:_TERM_BYTES], "big")
                entries.append(Entry(body[_TERM_BYTES:], index, term))
                found = cursor.next()
        return tuple(entries)

    def commit(self, writes: Sequence[LogWrite]) -> None:
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for write in writes:
                        self._write(transaction, write)
                return
            except lmdb.MapFullError:
                # No other transaction is open here, so the map may be moved.
                self._env.set_mapsize(2 * self._env.info()["map_size"])
            except lmdb.Error as error:
                raise StorageError(f"log {self._directory} cannot be written: {error}") from error

    def _write(self, transaction: lmdb.Transaction, write: LogWrite) -> None:
        group = write.group
        if write.first is not None:
            self._delete(transaction, _entry_key(group, 0), _entry_key(group, write.first))
        if write.truncate_from is not None:
            start = _entry_key(group, write.truncate_from)
            self._delete(transaction, start, _group_key(group + 1))
        for command, index, term in write.entries:
            key = _entry_key(group, index)
            body = term.to_bytes(_TERM_BYTES, "big") + command
            transaction.put(key, _sealed(key, body), db=self._entries)
        if write.hard_state is not None:
            key, state = _group_key(group), write.hard_state
            # Of a whole replica it is term and vote, as it was before there were marks.
            body = pack(state if state.joining else state[:3] if state.rebuilding else state[:2])
            transaction.put(key, _sealed(key, body), db=self._states)

    def _delete(self, transaction: lmdb.Transaction, start: bytes, end: bytes) -> None:
        with transaction.cursor(self._entries) as cursor:
            found = cursor.set_range(start)
            while found and bytes(cursor.key()) < end:
                found = cursor.delete()
