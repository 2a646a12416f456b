"""The table on real LMDB: flushes, snapshots and installs are there whole, or not at all."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import pytest

from globaltable.errors import Corrupt, ProtocolError
from globaltable.history import HistoryRecord
from globaltable.holdings import Adoption, Holding, HoldingState, Moves
from globaltable.members import Members
from globaltable.model import OpKind, OutcomeStatus
from globaltable.store import lmdb_table
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.table import ROOT_STATE, SnapshotChunk, TableImage
from globaltable.table_state import Flush, TableState
from globaltable.wire.packing import pack
from globaltable.wire.rows import HistoryRow, Row, encode_history, encode_row

EVERYTHING = (b"", b"\xff" * 8)
Open = Callable[[str], LmdbTableStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens the store of that name, closing it first: what only a process held is gone."""
    opened: dict[str, LmdbTableStore] = {}

    def again(name: str = "table") -> LmdbTableStore:
        if name in opened:
            opened.pop(name).close()
        opened[name] = LmdbTableStore(tmp_path / name, chunk_bytes=512)
        return opened[name]

    yield again
    for store in opened.values():
        store.close()


def _key(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"t\0k%d" % number


def _rows(numbers: Sequence[int], unit: str = "A", revision: int = 2) -> dict[bytes, bytes]:
    return {_key(n): encode_row(Row(unit, 1, revision, 7, n)) for n in numbers}


def _record(revision: int) -> HistoryRecord:
    row = HistoryRow(OpKind.BIND, b"t\0k", 7, revision, OutcomeStatus.APPLIED, "A", 1, revision)
    return HistoryRecord(revision, 1, encode_history([row]))


def _flush(rows: dict[bytes, bytes], revisions: Sequence[int] = (2,), floor: int = 1) -> Flush:
    state = TableState(max(revisions), 1, floor)
    return Flush(rows, [_record(revision) for revision in revisions], state)


def _seen(store: LmdbTableStore, group: int = 0) -> tuple[TableImage, dict[bytes, bytes]]:
    store.refresh()
    return store.image(group), dict(store.rows(group).scan(*EVERYTHING))


def _chunks(store: LmdbTableStore, group: int = 0) -> list[SnapshotChunk]:
    source = store.open_snapshot(group)
    chunks = [source.next_chunk()]
    while not chunks[-1].last:
        chunks.append(source.next_chunk())
    source.close()
    return chunks


def _receive(store: LmdbTableStore, group: int, chunks: Sequence[SnapshotChunk]) -> None:
    for number, chunk in enumerate(chunks):
        store.stage(group, number, chunk.payload)


class TestFlush:
    def test_a_new_group_stands_at_the_root_that_every_replica_holds(
        self, open_store: Open
    ) -> None:
        assert _seen(open_store("table")) == (TableImage(ROOT_STATE, []), {})

    def test_what_was_flushed_is_there_after_a_reopen(self, open_store: Open) -> None:
        flush = _flush(_rows(range(20)), [2, 3])
        open_store("table").flush([(0, flush)])
        assert _seen(open_store("table")) == (TableImage(flush.state, flush.history), flush.rows)

    def test_a_later_row_replaces_an_earlier_one(self, open_store: Open) -> None:
        store = open_store("table")
        store.flush([(0, _flush(_rows([1, 2])))])
        store.flush([(0, _flush(_rows([2, 3], "B", 3), [3]))])
        assert _seen(store)[1] == _rows([1]) | _rows([2, 3], "B", 3)

    def test_rows_of_a_slot_that_was_dropped_go_and_what_is_held_of_it_stays(
        self, open_store: Open
    ) -> None:
        """In one transaction: a crash leaves both or neither."""
        store = open_store("table")
        store.flush([(0, _flush(_rows([1, 2, 3])))])
        dropped = Holding(HoldingState.DROPPED, 1, 4, 3, emptied=True)
        moves = Moves({1: dropped, 2: dropped}, (Adoption(3, 5, 4, 9),))
        flush = _flush({_key(1): b"", _key(2): b"", **_rows([4])}, [3])
        flush = flush._replace(state=flush.state._replace(moves=moves))
        store.flush([(0, flush)])
        image, rows = _seen(store)
        assert rows == _rows([3, 4])
        assert image.state == flush.state and image.state.moves == moves
        store.flush([(0, _flush(_rows([1], "B", 4), [4]))])
        assert _seen(store)[1] == _rows([3, 4]) | _rows([1], "B", 4), "a slot comes back"

    def test_a_reader_sees_a_flush_only_once_it_has_been_told_of_it(self, open_store: Open) -> None:
        """Else the table in memory and the one beneath it would be of different revisions."""
        store = open_store("table")
        store.flush([(0, _flush(_rows([1])))])
        assert store.rows(0).get(_key(1)) is None
        store.refresh()
        assert store.rows(0).get(_key(1)) == _rows([1])[_key(1)]

    def test_rows_asked_for_before_the_first_flush_show_it(self, open_store: Open) -> None:
        """A table that opens empty must not stay blind: it would bind everything a second time."""
        store = open_store("table")
        rows = store.rows(0)
        store.flush([(0, _flush(_rows([1, 2]), [2, 3]))])
        store.refresh()
        assert rows.get(_key(1)) is not None
        assert len(list(rows.scan(*EVERYTHING))) == 2

    def test_a_scan_is_bounded_by_its_keys(self, open_store: Open) -> None:
        store = open_store("table")
        store.flush([(0, _flush(_rows(range(20)))), (1, _flush(_rows(range(5, 30))))])
        store.refresh()
        found = dict(store.rows(0).scan(_key(3), _key(9)))
        assert found == _rows(range(3, 9))

    def test_groups_do_not_touch_each_other(self, open_store: Open) -> None:
        store = open_store("table")
        store.flush([(0, _flush(_rows([1]))), (1, _flush(_rows([2]), [2, 3]))])
        assert _seen(store, 0)[1] == _rows([1])
        assert _seen(store, 1) == (
            TableImage(TableState(3, 1, 1), [_record(2), _record(3)]),
            _rows([2]),
        )

    def test_history_is_kept_from_the_floor_on(self, open_store: Open) -> None:
        store = open_store("table")
        store.flush([(0, _flush({}, [2, 3, 4]))])
        store.flush([(0, _flush({}, [5, 6, 7], floor=5))])
        assert _seen(store)[0].history == [_record(6), _record(7)]

    def test_the_flushes_of_all_groups_are_durable_all_or_none(self, open_store: Open) -> None:
        store = open_store("table")
        backwards = _flush({}, [2])
        store.flush([(1, _flush({}, [9]))])
        with pytest.raises(AssertionError):
            store.flush([(0, _flush(_rows([1]))), (1, backwards)])
        assert _seen(store) == (TableImage(ROOT_STATE, []), {})


class TestSnapshot:
    def test_a_stream_of_chunks_makes_an_equal_table(self, open_store: Open) -> None:
        sender, receiver = open_store("sender"), open_store("receiver")
        flush = _flush(_rows(range(100)), range(2, 40))
        sender.flush([(3, _flush(_rows([500]))), (4, flush), (5, _flush(_rows([501])))])
        chunks = _chunks(sender, 4)
        assert len(chunks) > 5
        assert all(len(chunk.payload) < 2 * 512 for chunk in chunks)
        _receive(receiver, 4, chunks)
        receiver.install(4, flush.state)
        assert (
            _seen(receiver, 4)
            == _seen(sender, 4)
            == (
                TableImage(flush.state, flush.history),
                flush.rows,
            )
        )
        assert _seen(receiver, 3)[1] == {}
        reopened = open_store("receiver")
        assert _seen(reopened, 4) == _seen(sender, 4)

    def test_of_an_empty_table_is_one_chunk(self, open_store: Open) -> None:
        store = open_store("table")
        assert [chunk.last for chunk in _chunks(store)] == [True]

    def test_it_does_not_see_what_is_flushed_meanwhile(self, open_store: Open) -> None:
        sender, receiver = open_store("sender"), open_store("receiver")
        first = _flush(_rows(range(50)))
        sender.flush([(0, first)])
        source = sender.open_snapshot(0)
        chunks = [source.next_chunk()]
        sender.flush([(0, _flush(_rows(range(100), "B", 3), [3]))])
        while not chunks[-1].last:
            chunks.append(source.next_chunk())
        assert source.state == first.state
        source.close()
        _receive(receiver, 0, chunks)
        receiver.install(0, source.state)
        assert _seen(receiver) == (TableImage(first.state, first.history), first.rows)

    def test_it_replaces_the_table_and_takes_flushes_on(self, open_store: Open) -> None:
        sender, receiver = open_store("sender"), open_store("receiver")
        receiver.flush([(0, _flush(_rows([1, 2, 777])))])
        sender.flush([(0, _flush(_rows(range(10), "B", 9), [9]))])
        _receive(receiver, 0, _chunks(sender))
        receiver.install(0, TableState(9, 1, 1))
        assert _seen(receiver) == _seen(sender)
        receiver.flush([(0, _flush(_rows([3], "C", 10), [10]))])
        assert _seen(receiver)[1] == _rows(range(10), "B", 9) | _rows([3], "C", 10)


class TestInterruptedStaging:
    def test_the_old_table_stands_until_the_install(self, open_store: Open) -> None:
        sender, receiver = open_store("sender"), open_store("receiver")
        old = _flush(_rows([1, 2, 3]))
        receiver.flush([(0, old)])
        sender.flush([(0, _flush(_rows(range(100), "B", 9), [9]))])
        _receive(receiver, 0, _chunks(sender))
        assert _seen(receiver) == (TableImage(old.state, old.history), old.rows)
        reopened = open_store("receiver")
        assert _seen(reopened) == (TableImage(old.state, old.history), old.rows)

    def test_what_a_crash_left_staged_is_not_part_of_the_next_one(self, open_store: Open) -> None:
        sender = open_store("sender")
        sender.flush([(0, _flush(_rows(range(100), "B", 9), [9]))])
        receiver = open_store("receiver")
        _receive(receiver, 0, [SnapshotChunk(pack([list(_rows([500]).items()), []]), last=False)])
        receiver = open_store("receiver")
        _receive(receiver, 0, _chunks(sender))
        receiver.install(0, TableState(9, 1, 1))
        assert _seen(receiver) == _seen(sender)

    def test_chunk_0_begins_anew(self, open_store: Open) -> None:
        sender, receiver = open_store("sender"), open_store("receiver")
        stray = pack([list(_rows([500]).items()), []])
        receiver.stage(0, 0, stray)
        receiver.stage(0, 1, stray)
        sender.flush([(0, _flush(_rows(range(100), "B", 9), [9]))])
        _receive(receiver, 0, _chunks(sender))
        receiver.install(0, TableState(9, 1, 1))
        assert _seen(receiver) == _seen(sender)

    @pytest.mark.parametrize(
        "payload",
        [
            b"garbage",
            pack(None),
            pack([[]]),
            pack([[[b"key"]], []]),
            pack([[], [[b"short", b"\0\0\0\1\x90"]]]),
            pack([[], [[bytes(8), b"\0"]]]),
        ],
    )
    def test_a_malformed_chunk_is_the_peers_fault_and_leaves_nothing(
        self, open_store: Open, payload: bytes
    ) -> None:
        store = open_store("table")
        store.flush([(0, _flush(_rows([1])))])
        before = _seen(store)
        with pytest.raises(ProtocolError, match=r"chunk 0 of group 0|not acceptable MessagePack"):
            store.stage(0, 0, payload)
        assert _seen(store) == before

    def test_nothing_of_a_chunk_that_stops_its_reader_is_kept(self, open_store: Open) -> None:
        """Found by reading for the fuzzer: an int as key took its value in bytes of memory."""
        store = open_store("receiver")
        good = (_record(2).revision.to_bytes(8, "big"), b"\0\0\0\1" + _record(2).data)
        store.stage(0, 0, pack([list(_rows([1]).items()), [good]]))
        for rows, history in (
            ([(2**40, b"")], []),
            ([(_key(1), b"no row")], []),
            ([(b"\0\0" + b"t\0" + b"k" * 600, encode_row(Row("A", 1, 2, 7, 1)))], []),
            ([(b"\0\0no name", encode_row(Row("A", 1, 2, 7, 1)))], []),
            ([], [(good[0], b"\0\0\0\1no history")]),
            ([], [(good[0], b"\0\0\0\2" + _record(2).data)]),
            ([], [([1, 2, 3, 4, 5, 6, 7, 8], good[1])]),
        ):
            with pytest.raises(ProtocolError):
                store.stage(0, 0, pack([rows, history]))

    def test_a_chunk_that_follows_none_is_the_peers_fault(self, open_store: Open) -> None:
        store = open_store("receiver")
        empty: list[list[bytes]] = [[], []]
        with pytest.raises(ProtocolError, match="follows none"):
            store.stage(0, 1, pack(empty))
        store.stage(0, 0, pack(empty))
        with pytest.raises(ProtocolError):
            store.stage(0, 1, b"")
        with pytest.raises(ProtocolError, match="follows none"):
            store.stage(0, 2, pack(empty))

    def test_records_that_the_table_does_not_hold_are_not_loaded(self, open_store: Open) -> None:
        store = open_store("receiver")
        record = (_record(9).revision.to_bytes(8, "big"), b"\0\0\0\1" + _record(9).data)
        store.stage(0, 0, pack([[], [record]]))
        store.install(0, TableState(applied=8, applied_term=1, floor=1))
        store.refresh()
        with pytest.raises(Corrupt, match="history record 9 of group 0"):
            store.image(0)


def _records_stored(store: LmdbTableStore) -> tuple[int, int]:
    """Rows and history records, whether a group points at them or not."""
    store.refresh()
    stat = store.reader.stat
    return stat(store.rows_db)["entries"], stat(store.history_db)["entries"]


class TestSweep:
    def test_it_deletes_what_no_group_points_at_and_nothing_else(
        self, open_store: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lmdb_table, "_SWEEP_ROWS", 7)
        sender, receiver = open_store("sender"), open_store("receiver")
        sender.flush([(0, _flush(_rows(range(30), "B", 9), [9]))])
        receiver.flush([(0, _flush(_rows(range(20)))), (1, _flush(_rows(range(10))))])
        _receive(receiver, 0, _chunks(sender))
        receiver.install(0, TableState(9, 1, 1))
        rounds = 1
        while receiver.sweep():
            rounds += 1
        assert rounds == 4, "21 records of the old table, 7 at a time, and a look at the end"
        assert _seen(receiver) == _seen(sender)
        assert _seen(receiver, 1)[1] == _rows(range(10))
        assert _records_stored(receiver) == (40, 2)

    def test_what_is_being_staged_is_spared_what_a_crash_left_staged_is_not(
        self, open_store: Open
    ) -> None:
        sender = open_store("sender")
        sender.flush([(0, _flush(_rows(range(30), "B", 9), [9]))])
        receiver = open_store("receiver")
        _receive(receiver, 0, _chunks(sender)[:1])
        receiver = open_store("receiver")
        _receive(receiver, 0, _chunks(sender))
        assert not receiver.sweep()
        receiver.install(0, TableState(9, 1, 1))
        assert _seen(receiver) == _seen(sender)
        assert _records_stored(receiver) == (30, 1)


class TestCorruption:
    """A changed byte is found when it is read, and the record is named."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        store = LmdbTableStore(tmp_path)
        store.flush([(5, _flush(_rows([1, 2]), [2, 3]))])
        store.close()
        return tmp_path

    def _damage(self, directory: Path, database: bytes) -> None:
        env = lmdb.open(str(directory), max_dbs=4, map_size=1 << 30)
        records = env.open_db(database)
        with env.begin(write=True) as transaction, transaction.cursor(records) as cursor:
            assert cursor.first()
            value = bytes(cursor.value())
            transaction.put(bytes(cursor.key()), value[:-1] + bytes([value[-1] ^ 1]), db=records)
        env.close()

    @pytest.mark.parametrize(
        ("database", "read", "named"),
        [
            (b"rows", lambda store: store.rows(5).get(_key(1)), "row .*00000005"),
            (b"rows", lambda store: list(store.rows(5).scan(*EVERYTHING)), "row .*00000005"),
            (b"rows", lambda store: _chunks(store, 5), "row .*00000005"),
            (b"history", lambda store: store.image(5), "history record 00000005"),
            (b"groups", lambda store: store.image(5), "group 0005"),
            (b"groups", lambda store: store.rows(5), "group 0005"),
        ],
        ids=["get", "scan", "snapshot", "history", "state", "pointer"],
    )
    def test_it_is_found_and_named(
        self,
        directory: Path,
        database: bytes,
        read: Callable[[LmdbTableStore], Any],
        named: str,
    ) -> None:
        self._damage(directory, database)
        store = LmdbTableStore(directory)
        with pytest.raises(Corrupt, match=named):
            read(store)
        store.close()

    def test_nothing_is_swept_while_a_group_may_need_anything(self, directory: Path) -> None:
        """The node's other groups go on, so the sweep does not fail; nor does it guess."""
        store = LmdbTableStore(directory)
        store.flush([(6, _flush(_rows([3]), [2]))])
        store.close()
        self._damage(directory, b"groups")
        store = LmdbTableStore(directory)
        assert store.sweep() is False
        store.refresh()
        assert _seen(store, 6)[1] == _rows([3])
        store.discard(5)
        store.refresh()
        assert _seen(store, 5) == (TableImage(ROOT_STATE, []), {})
        assert _seen(store, 6)[1] == _rows([3])
        store.close()


def test_a_sweep_keeps_what_the_core_still_reads(open_store: Open) -> None:
    """Another group's flush may renew the core's view before it takes up an installed snapshot."""
    store = open_store("table")
    store.flush([(0, _flush(_rows(range(4))))])
    store.refresh()
    rows = store.rows(0)
    store.stage(0, 0, pack([list(_rows([9]).items()), []]))
    store.install(0, TableState(8, 1, 8))
    store.sweep()
    store.refresh()
    assert dict(rows.scan(*EVERYTHING)) == _rows(range(4))
    store.rows(0)
    store.sweep()
    store.refresh()
    assert dict(rows.scan(*EVERYTHING)) == {}


def test_the_members_are_part_of_where_a_table_stands(
    open_store: Open,
) -> None:
    store = open_store("table")
    state = TableState(8, 1, 8, Members(("a", "b", "c"), ("d",)))
    store.flush([(0, Flush({}, [], state))])
    source = store.open_snapshot(0)
    assert source.state == state
    source.close()
    store.refresh()
    assert store.image(0).state == state
    store.discard(0)
    store.refresh()
    assert store.image(0).state == ROOT_STATE
