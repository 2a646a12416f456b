"""The table in LMDB: rows and history of all groups in one environment, `table/`.

A group's rows and history stand under a *generation*, a number that is never used twice: its first
one follows from the group's number, so that whoever reads an empty table sees the first flush. A
snapshot is received into a generation of its own, in transactions of bounded size, and installed
by pointing the group at it in one small transaction: a crash leaves the old table or the new one.
What no group points at is swept later, some at a time.

Invariants: a flush is one synced transaction; every value carries a checksum over key and content.
The core reads through one read transaction, renewed by `refresh` alone, so that it sees nothing of
a flush before it has been told of it.
"""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import lmdb

from globaltable import limits
from globaltable.errors import Corrupt, ProtocolError, StorageError
from globaltable.history import HistoryRecord
from globaltable.holdings import NO_MOVES
from globaltable.model import is_name
from globaltable.row_keys import SLOT_BYTES
from globaltable.store.table import ROOT_STATE, SnapshotChunk, TableImage
from globaltable.table_state import Flush, TableState
from globaltable.wire.holdings import moves_fields, moves_of
from globaltable.wire.members import fields_of, members_of
from globaltable.wire.packing import pack, unpack
from globaltable.wire.rows import decode_history, decode_row

MAP_BYTES: Final = 1 << 40
"""Address space, not disk: the file grows as rows are written."""

CHUNK_BYTES_DEFAULT: Final = 262_144
_SWEEP_ROWS: Final = 20_000
_CRC_BYTES: Final = 4
_GENERATION_BYTES: Final = 4
_REVISION_BYTES: Final = 8
_NEXT_GENERATION: Final = b"next generation"
_FIRST_GENERATIONS: Final = 1 << 16
"""Below are the first generations of groups; from here on those of snapshots."""
_HISTORY_ID_BYTES: Final = _REVISION_BYTES
_ROW_KEY_BYTES_MAX: Final = SLOT_BYTES + limits.TABLE_BYTES_MAX + 1 + limits.KEY_BYTES_MAX


def _seal(key: bytes, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(_CRC_BYTES, "big") + body


def _unseal(key: bytes, value: bytes, what: str) -> bytes:
    body = value[_CRC_BYTES:]
    if zlib.crc32(body, zlib.crc32(key)).to_bytes(_CRC_BYTES, "big") != value[:_CRC_BYTES]:
        raise Corrupt(f"{what} {_legible(key)} of table/ fails its checksum")
    return body


def _legible(key: bytes) -> str:
    """A row by its name, for people; anything else in hexadecimal."""
    table, _, name = key[_GENERATION_BYTES + SLOT_BYTES :].partition(b"\0")
    try:
        text = f"{table.decode()} {name.decode()}"
    except UnicodeDecodeError:
        return key.hex()
    return f"{text!r} ({key.hex()})" if name and text.isprintable() else key.hex()


def _prefix(generation: int) -> bytes:
    return generation.to_bytes(_GENERATION_BYTES, "big")


def _history_key(revision: int) -> bytes:
    return revision.to_bytes(_REVISION_BYTES, "big")


class _Pointer:
    """Where a group stands: its generation, and the state of its table."""

    __slots__ = ("generation", "state")

    def __init__(self, generation: int, state: TableState) -> None:
        self.generation = generation
        self.state = state

    def encoded(self) -> bytes:
        state: list[Any] = list(self.state[:3])
        members, moves = self.state.members, self.state.moves
        if members is not None or moves.moved:
            state.append(None if members is None else fields_of(members))
        if moves.moved:
            state.append(moves_fields(moves))
        return pack([self.generation, state])

    @classmethod
    def decoded(cls, key: bytes, value: bytes) -> "_Pointer":
        try:
            generation, state = unpack(_unseal(key, value, "state of group"))
            applied, applied_term, floor, *rest = state
            members = members_of(rest[0]) if rest and rest[0] is not None else None
            moves = moves_of(rest[1]) if len(rest) > 1 else NO_MOVES
            return cls(generation, TableState(applied, applied_term, floor, members, moves))
        except (ProtocolError, TypeError, ValueError) as error:
            raise Corrupt(f"group {key.hex()} of table/ does not decode: {error}") from error


class _Rows:
    """`FlushedRows` of one generation, through the store's read transaction."""

    def __init__(self, store: "LmdbTableStore", generation: int) -> None:
        self._store = store
        self._prefix = _prefix(generation)

    def get(self, key: bytes) -> bytes | None:
        full = self._prefix + key
        try:
            value = self._store.reader.get(full, db=self._store.rows_db)
        except lmdb.Error as error:
            raise Corrupt(f"row {_legible(full)} of table/ cannot be read: {error}") from error
        return None if value is None else _unseal(full, value, "row")

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._store.reader.cursor(self._store.rows_db) as cursor:
                stop = self._prefix + end
                found = cursor.set_range(self._prefix + start)
                while found and (key := bytes(cursor.key())) < stop:
                    yield key[_GENERATION_BYTES:], _unseal(key, bytes(cursor.value()), "row")
                    found = cursor.next()
        except lmdb.Error as error:
            raise Corrupt(f"rows of table/ cannot be read: {error}") from error


class LmdbTableStore:
    """`image`, `rows` and `refresh` belong to the core's thread; the rest to one worker thread."""

    def __init__(self, directory: Path, *, chunk_bytes: int = CHUNK_BYTES_DEFAULT) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._chunk_bytes = chunk_bytes
        try:
            self._env = lmdb.open(
                str(directory), map_size=MAP_BYTES, max_dbs=4, max_readers=126, readahead=False
            )
            self.rows_db = self._env.open_db(b"rows")
            self.history_db = self._env.open_db(b"history")
            self.groups_db = self._env.open_db(b"groups")
            self._meta_db = self._env.open_db(b"meta")
            self.reader = self._env.begin()
        except lmdb.Error as error:
            raise StorageError(
                f"table {directory} cannot be opened: {error}; if it is damaged, `globaltable "
                "rebuild --all` has the replicas of this node rebuilt from their peers"
            ) from error
        self._staging: dict[int, int] = {}
        self._in_use: dict[int, int] = {}
        """By group, the generation that the core reads, perhaps after another was installed."""

    def close(self) -> None:
        self.reader.abort()
        self._env.close()

    # --- the core's side -------------------------------------------------------------------------

    def refresh(self) -> None:
        self.reader.abort()
        self.reader = self._env.begin()

    def image(self, group: int) -> TableImage:
        pointer = self._pointer(self.reader, group)
        prefix = _prefix(pointer.generation)
        history: list[HistoryRecord] = []
        try:
            with self.reader.cursor(self.history_db) as cursor:
                found = cursor.set_range(prefix)
                while found and (key := bytes(cursor.key())).startswith(prefix):
                    body = _unseal(key, bytes(cursor.value()), "history record")
                    record = _history_record(key[_GENERATION_BYTES:], body)
                    if not pointer.state.floor < record.revision <= pointer.state.applied:
                        raise Corrupt(
                            f"history record {record.revision} of group {group} is not among those "
                            f"that its table holds: {pointer.state}"
                        )
                    history.append(record)
                    found = cursor.next()
        except lmdb.Error as error:
            raise Corrupt(f"history of group {group} cannot be read: {error}") from error
        return TableImage(pointer.state, history)

    def rows(self, group: int) -> _Rows:
        generation = self._pointer(self.reader, group).generation
        self._in_use[group] = generation
        return _Rows(self, generation)

    @property
    def rows_stored(self) -> int:
        """Of all groups, as of the last refresh: with tombstones, and with what is yet to be
        swept."""
        rows: int = self.reader.stat(self.rows_db)["entries"]
        return rows

    # --- the worker's side -----------------------------------------------------------------------

    def flush(self, flushes: Sequence[tuple[int, Flush]]) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                for group, flush in flushes:
                    self._flush_group(transaction, group, flush)
        except lmdb.Error as error:
            raise StorageError(f"table {self._directory} cannot be written: {error}") from error

    def _flush_group(self, transaction: lmdb.Transaction, group: int, flush: Flush) -> None:
        pointer = self._pointer(transaction, group)
        assert flush.state.applied >= pointer.state.applied, (group, flush.state, pointer.state)
        prefix = _prefix(pointer.generation)
        rows = sorted(flush.rows.items())
        if not all(flush.rows.values()):
            for key, row in rows:
                if not row:
                    transaction.delete(prefix + key, db=self.rows_db)
            rows = [(key, row) for key, row in rows if row]
        self._put_rows(transaction, prefix, rows)
        for record in flush.history:
            # Records that the history forgot again before this flush are not written at all.
            if record.revision > flush.state.floor:
                key = prefix + _history_key(record.revision)
                value = _seal(key, _history_body(record))
                transaction.put(key, value, db=self.history_db)
        self._forget_history(transaction, prefix, flush.state.floor)
        pointer.state = flush.state
        self._point(transaction, group, pointer)

    def _put_rows(
        self, transaction: lmdb.Transaction, prefix: bytes, rows: Sequence[tuple[bytes, bytes]]
    ) -> None:
        crc32 = zlib.crc32
        sealed = [
            (full := prefix + key, crc32(row, crc32(full)).to_bytes(_CRC_BYTES, "big") + row)
            for key, row in rows
        ]
        with transaction.cursor(self.rows_db) as cursor:
            cursor.putmulti(sealed)

    def _forget_history(self, transaction: lmdb.Transaction, prefix: bytes, floor: int) -> None:
        end = prefix + _history_key(floor + 1)
        with transaction.cursor(self.history_db) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()) < end:
                found = cursor.delete()

    def open_snapshot(self, group: int) -> "LmdbSnapshotSource":
        transaction = self._env.begin()
        try:
            pointer = self._pointer(transaction, group)
            return LmdbSnapshotSource(self, transaction, pointer, self._chunk_bytes)
        except BaseException:
            transaction.abort()
            raise

    def open_rows(self, group: int) -> "LmdbRowSource":
        """What is flushed at this moment, and stays to be read while more is."""
        transaction = self._env.begin()
        try:
            return LmdbRowSource(self, transaction, self._pointer(transaction, group))
        except BaseException:
            transaction.abort()
            raise

    def stage(self, group: int, number: int, payload: bytes) -> None:
        # A generation is the group's once it is durable; one that was not would be given again.
        generation = self._staging.pop(group, None) if number else None
        try:
            rows, history = _decode_chunk(payload)
        except (TypeError, ValueError, Corrupt, ProtocolError) as error:
            raise ProtocolError(f"chunk {number} of group {group} is malformed: {error}") from error
        if number and generation is None:
            raise ProtocolError(f"chunk {number} of group {group} follows none that was kept")
        try:
            with self._env.begin(write=True) as transaction:
                if generation is None:
                    generation = self._new_generation(transaction)
                prefix = _prefix(generation)
                self._put_rows(transaction, prefix, rows)
                for revision_key, body in history:
                    key = prefix + revision_key
                    transaction.put(key, _seal(key, body), db=self.history_db)
            self._staging[group] = generation
        except lmdb.Error as error:
            raise StorageError(f"table {self._directory} cannot be written: {error}") from error

    def install(self, group: int, state: TableState) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                pointer = _Pointer(self._staging.pop(group), state)
                self._point(transaction, group, pointer)
        except lmdb.Error as error:
            raise StorageError(f"table {self._directory} cannot be written: {error}") from error

    def discard(self, group: int) -> None:
        """Empty the group's table, in one small transaction; it need not be readable."""
        try:
            with self._env.begin(write=True) as transaction:
                empty = _Pointer(self._new_generation(transaction), ROOT_STATE)
                self._point(transaction, group, empty)
            self._staging.pop(group, None)
            self._in_use.pop(group, None)
        except lmdb.Error as error:
            raise StorageError(f"table {self._directory} cannot be written: {error}") from error

    def sweep(self) -> bool:
        try:
            with self._env.begin(write=True) as transaction:
                used = {*self._staging.values(), *self._in_use.copy().values()}
                with transaction.cursor(self.groups_db) as cursor:
                    used |= {
                        _Pointer.decoded(bytes(key), bytes(value)).generation
                        for key, value in cursor
                    }
                budget = _SWEEP_ROWS
                for database in (self.rows_db, self.history_db):
                    budget = self._sweep(transaction, database, used, budget)
                return budget == 0
        except Corrupt:
            # A group whose pointer is damaged may need any generation. It is out of service; once
            # it has been rebuilt its pointer is whole.
            return False
        except lmdb.Error as error:
            raise StorageError(f"table {self._directory} cannot be swept: {error}") from error

    def _sweep(
        self, transaction: lmdb.Transaction, database: "lmdb._Database", used: set[int], budget: int
    ) -> int:
        with transaction.cursor(database) as cursor:
            found = cursor.first()
            while found and budget:
                generation = int.from_bytes(cursor.key()[:_GENERATION_BYTES], "big")
                if generation in used:
                    found = cursor.set_range(_prefix(generation + 1))
                else:
                    found = cursor.delete()
                    budget -= 1
        return budget

    # --- pointers --------------------------------------------------------------------------------

    def _pointer(self, transaction: lmdb.Transaction, group: int) -> _Pointer:
        key = group.to_bytes(2, "big")
        try:
            value = transaction.get(key, db=self.groups_db)
        except lmdb.Error as error:
            raise Corrupt(f"group {group} of table/ cannot be read: {error}") from error
        return _Pointer(group, ROOT_STATE) if value is None else _Pointer.decoded(key, bytes(value))

    def _point(self, transaction: lmdb.Transaction, group: int, pointer: _Pointer) -> None:
        key = group.to_bytes(2, "big")
        transaction.put(key, _seal(key, pointer.encoded()), db=self.groups_db)

    def _new_generation(self, transaction: lmdb.Transaction) -> int:
        value = transaction.get(_NEXT_GENERATION, db=self._meta_db)
        generation = _FIRST_GENERATIONS if value is None else int.from_bytes(value, "big")
        transaction.put(_NEXT_GENERATION, _prefix(generation + 1), db=self._meta_db)
        return generation


class LmdbSnapshotSource:
    """A read transaction over one generation; it holds no more than a chunk in memory."""

    def __init__(
        self,
        store: LmdbTableStore,
        transaction: lmdb.Transaction,
        pointer: _Pointer,
        chunk_bytes: int,
    ) -> None:
        self._transaction = transaction
        self._state = pointer.state
        self._prefix = _prefix(pointer.generation)
        self._chunk_bytes = chunk_bytes
        self._databases = [store.rows_db, store.history_db]
        self._database = 0
        self._cursor = transaction.cursor(self._databases[0])
        self._found = self._cursor.set_range(self._prefix)

    @property
    def state(self) -> TableState:
        return self._state

    def next_chunk(self) -> SnapshotChunk:
        try:
            return self._next_chunk()
        except lmdb.Error as error:
            raise Corrupt(f"a snapshot of table/ cannot be read: {error}") from error

    def _next_chunk(self) -> SnapshotChunk:
        pieces: list[list[tuple[bytes, bytes]]] = [[], []]
        size = 0
        while size < self._chunk_bytes:
            key = bytes(self._cursor.key())
            if not (self._found and key.startswith(self._prefix)):
                if self._database == 1:
                    return SnapshotChunk(pack(pieces), last=True)
                self._database = 1
                self._cursor.close()
                self._cursor = self._transaction.cursor(self._databases[1])
                self._found = self._cursor.set_range(self._prefix)
                continue
            what = ("row", "history record")[self._database]
            body = _unseal(key, bytes(self._cursor.value()), what)
            pieces[self._database].append((key[_GENERATION_BYTES:], body))
            size += len(key) + len(body)
            self._found = self._cursor.next()
        return SnapshotChunk(pack(pieces), last=False)

    def close(self) -> None:
        self._cursor.close()
        self._transaction.abort()


class LmdbRowSource:
    """A read transaction over the rows of one generation, read some at a time, ascending."""

    def __init__(
        self, store: LmdbTableStore, transaction: lmdb.Transaction, pointer: _Pointer
    ) -> None:
        self.state = pointer.state
        self.rows_about: int = transaction.stat(store.rows_db)["entries"]
        """Of all groups together, and of what is yet to be swept."""
        self._transaction = transaction
        self._prefix = _prefix(pointer.generation)
        self._cursor = transaction.cursor(store.rows_db)
        self._found = self._cursor.set_range(self._prefix)

    def seek(self, key: bytes) -> None:
        """Go on with the first row that is not before this key."""
        self._found = self._cursor.set_range(self._prefix + key)

    def next_rows(self, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """Keys and rows, the last of which reaches `bytes_max`; none behind the last row."""
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        try:
            cursor, prefix = self._cursor, self._prefix
            while self._found and size < bytes_max:
                key = bytes(cursor.key())
                if not key.startswith(prefix):
                    self._found = False
                    break
                body = _unseal(key, bytes(cursor.value()), "row")
                rows.append((key[_GENERATION_BYTES:], body))
                size += len(key) + len(body)
                self._found = cursor.next()
        except lmdb.Error as error:
            raise Corrupt(f"rows of table/ cannot be read: {error}") from error
        return rows

    def close(self) -> None:
        self._cursor.close()
        self._transaction.abort()


_Pairs = list[tuple[bytes, bytes]]


def _decode_chunk(payload: bytes) -> tuple[_Pairs, _Pairs]:
    """A peer's rows and history records. What is not checked here is served, or stops the replica
    at its next start."""
    rows, history = unpack(payload)
    pairs: tuple[_Pairs, _Pairs] = ([], [])
    for kept, given in zip(pairs, (rows, history), strict=True):
        for key, value in given:
            if type(key) is not bytes or type(value) is not bytes:
                raise ProtocolError("keys and values are bytes")
            kept.append((key, value))
    for key, value in pairs[0]:
        if not (is_name(key[SLOT_BYTES:]) and len(key) <= _ROW_KEY_BYTES_MAX):
            raise ProtocolError(f"{key[:64]!r} is not the key of a row")
        decode_row(value)
    for key, value in pairs[1]:
        record = _history_record(key, value)
        if record.ops != max(1, len(decode_history(record.data))):
            raise ProtocolError(f"history record {record.revision} does not hold {record.ops} ops")
    return pairs


def _history_body(record: HistoryRecord) -> bytes:
    return record.ops.to_bytes(4, "big") + record.data


def _history_record(revision_key: bytes, body: bytes) -> HistoryRecord:
    if len(revision_key) != _HISTORY_ID_BYTES or len(body) < 5:
        raise Corrupt(f"history record {revision_key!r} is malformed")
    revision = int.from_bytes(revision_key, "big")
    return HistoryRecord(revision, int.from_bytes(body[:4], "big"), body[4:])
