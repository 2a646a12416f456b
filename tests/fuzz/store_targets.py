"""What lies in LMDB under a checksum, and what a peer sends to be put there.

Values are damaged through LMDB itself; `damaged_pages` damages the file under it.
"""

from collections.abc import Callable
from typing import Any, Final

import lmdb

from globaltable.errors import Corrupt, ProtocolError
from globaltable.history import HistoryRecord
from globaltable.model import split_name
from globaltable.row_keys import SLOT_BYTES, row_key
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import HardState, LogImage, LogWrite
from globaltable.store.table import TableImage
from globaltable.table import Table
from globaltable.table_state import Flush, TableState
from globaltable.wire.rows import Row, encode_history, encode_row
from tests.fuzz import samples
from tests.fuzz.directories import scratch
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Refused, Subject, Target

_GROUP: Final = 0
_GROUP_KEY: Final = bytes(2)


def _put(env: lmdb.Environment, database: Any, key: bytes, value: bytes) -> None:
    with env.begin(write=True) as transaction:
        transaction.put(key, value, db=database)


def _log_value(database: str, key: bytes) -> Subject:
    """The log with one stored value replaced: never loaded as anything but what was written."""
    store = LmdbLogStore(scratch("log"))
    write = LogWrite(_GROUP, None, None, (samples.entry(2), samples.entry(3)), HardState(1, "b"))
    store.commit([write])
    written = store.load(_GROUP)
    env, where = store._env, getattr(store, database)
    with env.begin() as transaction:
        value = bytes(transaction.get(key, db=where) or b"")

    def decode(data: bytes) -> LogImage:
        _put(env, where, key, data)
        image = store.load(_GROUP)
        assert image == written, f"damage is loaded as {image!r:.300}"
        return image

    return Subject([value], decode)


def log_entry() -> Subject:
    return _log_value("_entries", _GROUP_KEY + (2).to_bytes(8, "big"))


def log_state() -> Subject:
    return _log_value("_states", _GROUP_KEY)


def _flushed_store() -> tuple[LmdbTableStore, bytes]:
    """A table with a few rows and records, and the key of one row."""
    store = LmdbTableStore(scratch("table"))
    keys = sorted(row_key(samples.name(n), samples.SLOTS) for n in range(4))
    rows = {key: encode_row(Row("unit-1", 1, 2, 7, n)) for n, key in enumerate(keys)}
    history = [
        HistoryRecord(revision, 2, encode_history(samples.history_rows(revision)))
        for revision in (2, 3)
    ]
    store.flush([(_GROUP, Flush(rows, history, TableState(3, 1, 1)))])
    store.refresh()
    return store, keys[0]


def _table_value(database: str, key_of: Callable[[bytes], bytes]) -> Subject:
    """The table with one stored value replaced."""
    store, row = _flushed_store()
    key, where = key_of(row), getattr(store, database)
    written = _everything(store)
    value = bytes(store.reader.get(key, db=where) or b"")
    assert value

    def decode(data: bytes) -> Any:
        _put(store._env, where, key, data)
        store.refresh()
        found = _everything(store)
        assert found == written, f"damage is read as {found!r:.300}"
        return found

    return Subject([value], decode)


def _everything(store: LmdbTableStore) -> tuple[TableImage, list[tuple[bytes, bytes]]]:
    return store.image(_GROUP), list(store.rows(_GROUP).scan(b"", b"\xff" * 8))


def table_row() -> Subject:
    return _table_value("rows_db", lambda row: bytes(4) + row)


def table_history() -> Subject:
    return _table_value("history_db", lambda _: bytes(4) + (2).to_bytes(8, "big"))


def table_group() -> Subject:
    return _table_value("groups_db", lambda _: _GROUP_KEY)


def snapshot_chunk() -> Subject:
    """A peer's chunk: staged, installed, and the table read whole, as the node would."""
    store = LmdbTableStore(scratch("chunks"))
    since_sweep = 0

    def decode(payload: bytes) -> None:
        nonlocal since_sweep
        since_sweep += 1
        if since_sweep > 200:
            since_sweep = 0
            store.sweep()
        store.stage(_GROUP, 0, payload)
        store.install(_GROUP, samples.STATE)
        store.refresh()
        try:
            image = store.image(_GROUP)
        except Corrupt as error:
            raise Refused("replica stopped: Corrupt") from error
        table = Table(samples.SLOTS, store.rows(_GROUP), image.state, image.history)
        for key, _binding in table.scan(b"", b"\xff" * 8):
            split_name(key[SLOT_BYTES:])

    seeds = [
        samples.chunk(rows, range(2, 2 + records)) for rows, records in ((3, 4), (0, 0), (20, 1))
    ]
    return Subject(seeds, decode)


_FLIPPED = (Corrupt,)

TARGETS = (
    Target("stored log entry", log_entry, _FLIPPED, Grammar.PLAIN, share=25),
    Target("stored term and vote", log_state, _FLIPPED, Grammar.PLAIN, share=25),
    Target("stored row", table_row, _FLIPPED, Grammar.PLAIN, share=25),
    Target("stored history", table_history, _FLIPPED, Grammar.PLAIN, share=25),
    Target("stored group", table_group, _FLIPPED, Grammar.PLAIN, share=25),
    Target("snapshot chunk", snapshot_chunk, (ProtocolError, Refused), Grammar.MSGPACK, share=40),
)
