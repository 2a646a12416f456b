"""Disks that a crash can empty, and that can be full or fail.

What was committed stays, everything else is lost.

They obey the contracts of `store.log` and `store.table`, without a byte of LMDB. A store is what a
process holds open; its platter outlives the process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from globaltable.errors import Corrupt, StorageError
from globaltable.history import HistoryRecord
from globaltable.store.log import Entry, HardState, LogImage, LogWrite
from globaltable.store.table import ROOT_STATE, SnapshotChunk, TableImage
from globaltable.table_state import Flush, TableState
from globaltable.wire.packing import pack, unpack

CHUNK_ROWS: Final = 4
CHUNK_RECORDS: Final = 100
"""Small, so that every transfer of a snapshot has several chunks."""


def _lives_on(_point: str) -> bool:
    return False


@dataclass(slots=True)
class Platter:
    """What survives a crash of one node."""

    entries: dict[int, dict[int, Entry]] = field(default_factory=dict)
    states: dict[int, HardState] = field(default_factory=dict)
    tables: dict[int, "_Generation"] = field(default_factory=dict)
    damaged_entries: set[tuple[int, int]] = field(default_factory=set)
    """Group and index of log records that fail their checksum."""
    damaged_rows: set[tuple[int, bytes]] = field(default_factory=set)
    full: bool = False
    fails_next: bool = False

    def rows(self, group: int) -> list[bytes]:
        return sorted(self.tables.get(group, _NEW).rows)

    def lose_log(self, group: int) -> bool:
        """Entries, term and vote are gone as if they had never been; False if nobody could tell."""
        generation = self.tables.get(group, _NEW)
        if generation.state == ROOT_STATE:
            return False
        self.entries.pop(group, None)
        self.states.pop(group, None)
        return True

    def discard(self, group: int, *, joins: bool = False) -> None:
        """What `globaltable rebuild` does to a group; or, if it `joins`, who deletes all and starts
        the node with `--join`."""
        self.entries.pop(group, None)
        self.tables.pop(group, None)
        self.states[group] = HardState(0, None, rebuilding=not joins, joining=joins)
        self.damaged_entries = {place for place in self.damaged_entries if place[0] != group}
        self.damaged_rows = {place for place in self.damaged_rows if place[0] != group}

    def require_room(self) -> None:
        """Before each transaction; one that raises has changed nothing."""
        if self.full:
            raise StorageError("no space left on device")
        if self.fails_next:
            self.fails_next = False
            raise StorageError("input/output error")


class SimLog:
    """`LogStore`: `commit` is atomic, and durable at once; when it happens is the driver's say."""

    def __init__(self, platter: Platter) -> None:
        self._platter = platter

    def groups(self) -> list[int]:
        return sorted(self._platter.states)

    def load(self, group: int) -> LogImage:
        entries = self._platter.entries.get(group, {})
        state = self._platter.states.get(group)
        if state is not None and not entries and not state.marked:
            raise Corrupt(f"group {group} has a term but no log entries")
        ordered = tuple(entries[index] for index in sorted(entries))
        for index in entries:
            if (group, index) in self._platter.damaged_entries:
                raise Corrupt(f"log entry {index} of group {group} fails its checksum")
        for before, after in pairwise(ordered):
            if after.index != before.index + 1:
                raise Corrupt(f"entry {after.index} follows entry {before.index}")
        return LogImage(ordered, state or HardState(0, None))

    def commit(self, writes: Sequence[LogWrite]) -> None:
        self._platter.require_room()
        for write in writes:
            entries = self._platter.entries.setdefault(write.group, {})
            first, truncate_from = write.first, write.truncate_from
            for index in list(entries):
                below = first is not None and index < first
                if below or (truncate_from is not None and index >= truncate_from):
                    del entries[index]
                    self._platter.damaged_entries.discard((write.group, index))
            for entry in write.entries:
                entries[entry.index] = entry
            if write.hard_state is not None:
                self._platter.states[write.group] = write.hard_state


@dataclass(frozen=True, slots=True)
class _Generation:
    """One group's table at a moment. Never changed in place: a snapshot may be reading it."""

    state: TableState
    rows: dict[bytes, bytes]
    history: tuple[HistoryRecord, ...]


_NEW: Final = _Generation(ROOT_STATE, {}, ())


class _Rows:
    def __init__(self, store: "SimTable", group: int) -> None:
        self._store = store
        self._group = group

    def get(self, key: bytes) -> bytes | None:
        self._store.require_sound(self._group, key)
        return self._store.visible(self._group).rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self._store.visible(self._group).rows
        for key in sorted(rows):
            if start <= key < end:
                self._store.require_sound(self._group, key)
                yield key, rows[key]


class SimTable:
    """`TableStore`."""

    def __init__(self, platter: Platter, crashes: Callable[[str], bool] = _lives_on) -> None:
        """`crashes` is told of each point at which the process may die; True if it did."""
        self._platter = platter
        self._crashes = crashes
        self._visible = dict(platter.tables)
        self._staged: dict[int, tuple[dict[bytes, bytes], list[HistoryRecord]]] = {}

    def visible(self, group: int) -> _Generation:
        return self._visible.get(group, _NEW)

    def require_sound(self, group: int, key: bytes) -> None:
        if (group, key) in self._platter.damaged_rows:
            raise Corrupt(f"row {key.hex()} of group {group} fails its checksum")

    def refresh(self) -> None:
        self._visible = dict(self._platter.tables)

    def image(self, group: int) -> TableImage:
        generation = self.visible(group)
        return TableImage(generation.state, list(generation.history))

    def rows(self, group: int) -> _Rows:
        return _Rows(self, group)

    def flush(self, flushes: Sequence[tuple[int, Flush]]) -> None:
        self._platter.require_room()
        for group, flush in flushes:
            old = self._platter.tables.get(group, _NEW)
            assert flush.state.applied >= old.state.applied, (group, flush.state, old.state)
            records = {record.revision: record for record in (*old.history, *flush.history)}
            history = tuple(
                records[revision] for revision in sorted(records) if revision > flush.state.floor
            )
            rows = {key: row for key, row in {**old.rows, **flush.rows}.items() if row}
            self._platter.damaged_rows -= {(group, key) for key in flush.rows}
            self._platter.tables[group] = _Generation(flush.state, rows, history)
        self._crashes("crash after a flush")

    def open_snapshot(self, group: int) -> "SimSnapshot":
        return SimSnapshot(self, group, self._platter.tables.get(group, _NEW))

    def stage(self, group: int, number: int, payload: bytes) -> None:
        self._platter.require_room()
        if number == 0:
            self._staged[group] = ({}, [])
        rows, history = self._staged[group]
        for key, value in unpack(payload)[0]:
            rows[key] = value
        history += [HistoryRecord(*record) for record in unpack(payload)[1]]
        self._crashes("crash amid a snapshot")

    def install(self, group: int, state: TableState) -> None:
        self._platter.require_room()
        rows, history = self._staged.pop(group)
        self._platter.damaged_rows = {
            place for place in self._platter.damaged_rows if place[0] != group
        }
        self._platter.tables[group] = _Generation(state, rows, tuple(history))
        self._crashes("crash after an install")

    def discard(self, group: int) -> None:
        self._platter.require_room()
        self._staged.pop(group, None)
        self._platter.tables.pop(group, None)
        self._platter.damaged_rows = {
            place for place in self._platter.damaged_rows if place[0] != group
        }

    def sweep(self) -> bool:
        return False


class SimSnapshot:
    """`SnapshotSource`."""

    def __init__(self, store: SimTable, group: int, generation: _Generation) -> None:
        self._store = store
        self._group = group
        self._state = generation.state
        self._rows = sorted(generation.rows.items())
        self._history = list(generation.history)

    @property
    def state(self) -> TableState:
        return self._state

    def next_chunk(self) -> SnapshotChunk:
        rows, self._rows = self._rows[:CHUNK_ROWS], self._rows[CHUNK_ROWS:]
        for key, _ in rows:
            self._store.require_sound(self._group, key)
        room = 0 if self._rows else CHUNK_RECORDS
        history, self._history = self._history[:room], self._history[room:]
        return SnapshotChunk(pack([rows, history]), last=not (self._rows or self._history))

    def close(self) -> None:
        pass
