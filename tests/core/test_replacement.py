"""What is stored is verified record by record, and discarded so that no crash makes it look new."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb
import pytest

from globaltable.errors import Corrupt
from globaltable.history import HistoryRecord
from globaltable.raft.journal import Journal
from globaltable.row_keys import row_key
from globaltable.store import replacement
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import Entry, HardState, LogImage, LogWrite
from globaltable.store.table import ROOT_STATE, TableImage
from globaltable.store.verification import verify
from globaltable.table_state import Flush, TableState
from globaltable.wire.rows import Row, encode_history, encode_row

GROUPS: Final = 3
MARKED: Final = LogImage((), HardState(0, None, rebuilding=True))
ROW: Final = {row_key(b"t\0k", 16): encode_row(Row("A", 1, 3, 7, 1))}
HISTORY: Final = [HistoryRecord(3, 1, encode_history([]))]


def _log(first: int) -> tuple[Entry, ...]:
    return tuple(Entry(b"\x01", index, 1) for index in range(first, 5))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Groups 0 and 1 hold something, group 2 nothing."""
    log = LmdbLogStore(tmp_path / "log")
    log.commit([LogWrite(group, None, None, _log(2), HardState(4, "b")) for group in (0, 1)])
    log.close()
    table = LmdbTableStore(tmp_path / "table")
    table.flush([(group, Flush(ROW, HISTORY, TableState(3, 1, 1))) for group in (0, 1)])
    table.close()
    return tmp_path


def _flip(directory: Path, name: str, database: bytes, prefix: bytes) -> None:
    env = lmdb.open(str(directory / name), max_dbs=4, map_size=1 << 30)
    records = env.open_db(database)
    with env.begin(write=True) as transaction, transaction.cursor(records) as cursor:
        assert cursor.set_range(prefix)
        value = bytes(cursor.value())
        transaction.put(bytes(cursor.key()), value[:-1] + bytes([value[-1] ^ 1]), db=records)
    env.close()


def _images(directory: Path) -> list[LogImage]:
    log = LmdbLogStore(directory / "log")
    images = [log.load(group) for group in range(GROUPS)]
    log.close()
    return images


def _tables(directory: Path) -> list[TableImage]:
    table = LmdbTableStore(directory / "table")
    images = [table.image(group) for group in range(GROUPS)]
    table.close()
    return images


class TestVerification:
    def test_what_is_whole_is_counted(self, directory: Path) -> None:
        report = verify(directory, GROUPS)
        assert report.is_whole
        assert [(found.entries, found.rows) for found in report.findings] == [
            (3, 1),
            (3, 1),
            (0, 0),
        ]

    @pytest.mark.parametrize(
        ("name", "database", "prefix", "named"),
        [
            ("log", b"entries", b"\0\1", "log entry 2 of group 1 fails its checksum"),
            ("log", b"states", b"\0\1", "term and vote of group 1 fails its checksum"),
            ("table", b"rows", b"\0\0\0\1", "row 't k' .* fails its checksum"),
            ("table", b"history", b"\0\0\0\1", "history record 00000001.* fails its checksum"),
            ("table", b"groups", b"\0\1", "state of group 0001 of table/ fails its checksum"),
        ],
    )
    def test_a_damaged_record_is_named_and_its_group_alone(
        self, directory: Path, name: str, database: bytes, prefix: bytes, named: str
    ) -> None:
        _flip(directory, name, database, prefix)
        report = verify(directory, GROUPS)
        assert report.damaged == [1]
        (damage,) = report.findings[1].damages
        with pytest.raises(Corrupt, match=named):
            raise Corrupt(damage)

    def test_log_and_table_are_both_looked_at(self, directory: Path) -> None:
        _flip(directory, "log", b"entries", b"\0\0")
        _flip(directory, "table", b"rows", b"\0\0\0\0")
        assert len(verify(directory, GROUPS).findings[0].damages) == 2

    def test_a_gap_between_table_and_log_is_damage(self, directory: Path) -> None:
        log = LmdbLogStore(directory / "log")
        log.commit([LogWrite(0, 4, None, (), None)])
        log.close()
        assert (
            "the log begins at 4 but the table ends at 3"
            in (verify(directory, GROUPS).findings[0].damages[0])
        )

    @pytest.mark.parametrize("name", ["log", "table"])
    def test_what_cannot_be_opened_is_said(self, directory: Path, name: str) -> None:
        (directory / name / "data.mdb").write_bytes(b"nothing of LMDB" * 1_000)
        report = verify(directory, GROUPS)
        assert not report.is_whole
        assert "cannot be opened" in report.unreadable[0]


class TestDiscarding:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda directory: _flip(directory, "log", b"states", b"\0\1"),
            lambda directory: _flip(directory, "table", b"groups", b"\0\1"),
        ],
    )
    def test_one_group_is_emptied_and_marked_whatever_it_holds(
        self, directory: Path, damage: Callable[[Path], None]
    ) -> None:
        before, tables = _images(directory), _tables(directory)
        damage(directory)
        replacement.discard(directory, [1])
        assert _images(directory) == [before[0], MARKED, before[2]]
        assert _tables(directory) == [tables[0], TableImage(ROOT_STATE, []), tables[2]]
        report = verify(directory, GROUPS)
        assert report.is_whole
        assert [found.rebuilding for found in report.findings] == [False, True, False]

    def test_all_groups_at_once_without_reading(self, directory: Path) -> None:
        for name in ("log", "table"):
            (directory / name / "data.mdb").write_bytes(b"nothing of LMDB" * 1_000)
        replacement.discard_all(directory, GROUPS)
        assert _images(directory) == [MARKED] * GROUPS
        assert _tables(directory) == [TableImage(ROOT_STATE, [])] * GROUPS
        assert sorted(path.name for path in directory.iterdir()) == ["log", "table"]

    def test_a_disk_that_is_new(self, tmp_path: Path) -> None:
        replacement.discard_all(tmp_path, GROUPS)
        assert _images(tmp_path) == [MARKED] * GROUPS

    def test_after_an_attempt_that_was_cut_short(self, directory: Path) -> None:
        (directory / "log.new").mkdir()
        (directory / "log.new" / "data.mdb").write_bytes(b"half")
        replacement.discard_all(directory, GROUPS)
        assert _images(directory) == [MARKED] * GROUPS

    @pytest.mark.parametrize(
        "discard",
        [
            lambda directory: replacement.discard(directory, range(GROUPS)),
            lambda directory: replacement.discard_all(directory, GROUPS),
        ],
        ids=["some", "all"],
    )
    def test_cut_short_before_the_mark_the_group_is_not_as_new(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, discard: Callable[[Path], None]
    ) -> None:
        """The table is gone, the log is not: either they do not meet, and the replica refuses; or
        the log reaches back to the beginning, and gives the table again."""

        class Crash(Exception):
            pass

        def crash(*_: object) -> None:
            raise Crash

        with monkeypatch.context() as until_then:
            until_then.setattr(LmdbLogStore, "commit", crash)
            with pytest.raises(Crash):
                discard(directory)
        image, state = _images(directory)[0], _tables(directory)[0].state
        assert (state, image.hard_state) == (ROOT_STATE, HardState(4, "b"))
        with pytest.raises(Corrupt, match="the log begins at 2 but the table ends at 1"):
            Journal(0, image, state.applied, state.applied_term)
