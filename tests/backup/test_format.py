"""What is read is what was written, or it is refused: whatever happened to the file."""

import io
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from globaltable.backup import records
from globaltable.backup.contents import Contents, Count
from globaltable.backup.reading import BackupReader, NotABackup
from globaltable.backup.records import Begin, End, Kind, Trailer
from globaltable.backup.writing import BackupWriter
from globaltable.cli.main import run as run_command
from globaltable.errors import Corrupt
from globaltable.wire.packing import pack
from globaltable.wire.rows import Row
from tests.backup.samples import HEADER, REVISION, named, read, stored, written

ROWS = named(
    {("t", f"k{number}"): Row("A", number + 1, number + 5, 1, number) for number in range(20)}
    | {("t", "gone"): Row(None, 3, 9, 1, 99), ("u", "k0"): Row("B", 2**63 - 1, 7, 1, 100)}
)
WHOLE = written(ROWS)

numbers = st.integers(0, 2**64 - 1)
rows = st.dictionaries(
    st.tuples(st.sampled_from("tu"), st.text(min_size=1, max_size=9)),
    st.builds(
        Row,
        st.none() | st.text(min_size=1, max_size=16),
        st.integers(1, 2**63 - 1),
        st.integers(1, REVISION),
        numbers,
        numbers,
    ),
    max_size=40,
)


@given(rows, st.integers(1, 50))
def test_what_is_read_is_what_was_written(
    wanted: dict[tuple[str, str], Row], at_a_time: int
) -> None:
    reader, found = read(written(named(wanted), at_a_time))
    assert found == named(wanted)
    tally = reader.contents.tally
    assert tally.rows == len(wanted) and reader.trailer is not None
    assert tally.bindings == sum(row.unit is not None for row in wanted.values())


def test_it_counts_by_table_and_by_group() -> None:
    tally = read(WHOLE)[0].contents.tally
    assert tally.by_table == {"t": Count(20, 1), "u": Count(1, 0)}
    assert tally.by_group.keys() == {0, 1}
    assert sum(count.rows for count in tally.by_group.values()) == len(ROWS)
    assert all(count.rows == len(stored(ROWS, group)) for group, count in tally.by_group.items())


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_was_cut_short_anywhere_is_refused(size: int) -> None:
    with pytest.raises((Corrupt, NotABackup)):
        read(WHOLE[:size])


@settings(max_examples=500)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused(place: int, flipped: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= flipped
    with pytest.raises((Corrupt, NotABackup)):
        read(bytes(damaged))


def test_what_follows_the_trailer_is_refused() -> None:
    with pytest.raises(Corrupt, match="follows the trailer"):
        read(WHOLE + b"\0")


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0" * 9, records.MAGIC[:-1]])
def test_another_file_is_told_from_a_damaged_backup(data: bytes) -> None:
    with pytest.raises(NotABackup):
        read(data)


def test_a_record_taken_out_whole_is_missed() -> None:
    """Each record's own checksum holds: what tells is the end of the group, and the digest."""
    at = len(records.MAGIC)
    places = []
    while at < len(WHOLE):
        kind, length = records.decode_head(WHOLE[at : at + records.HEAD_BYTES])
        places.append((kind, at, at + records.HEAD_BYTES + length))
        at = places[-1][2]
    assert {kind for kind, _, _ in places} == {*Kind}
    for _, start, end in places:
        with pytest.raises(Corrupt):
            read(WHOLE[:start] + WHOLE[end:])
    for _, start, end in places:
        with pytest.raises(Corrupt):
            read(WHOLE[:end] + WHOLE[start:end] + WHOLE[end:])


def _forged(*after_the_header: tuple[Kind, bytes]) -> bytes:
    file = io.BytesIO()
    BackupWriter(file.write, HEADER)
    for kind, payload in after_the_header:
        file.write(records.encode(kind, payload))
    return file.getvalue()


BEGUN = (Kind.BEGIN, pack(Begin(0, 100, 1, "a")))
GOOD = stored(ROWS, 0)[:2]


def _rows(*pairs: object) -> tuple[Kind, bytes]:
    return (Kind.ROWS, pack(pairs))


def _row(**changes: Any) -> tuple[Kind, bytes]:
    row = Row("A", 1, 5, 1, 1)._replace(**changes)
    return _rows((GOOD[0][0], pack(row)))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ([_rows(*GOOD)], "belong to no group"),
        ([BEGUN, BEGUN], "before group 0 has ended"),
        ([(Kind.BEGIN, pack(Begin(2, 10, 1, "a")))], "none of 2"),
        ([(Kind.BEGIN, pack([0, -1, 1, "a"]))], "out of range"),
        ([(Kind.BEGIN, pack([0, 1, 1]))], "not the begin"),
        ([BEGUN, (Kind.END, pack(End(0, 0, 0))), BEGUN], "comes twice"),
        ([BEGUN, (Kind.END, pack(End(0, 1, 0)))], "but holds"),
        ([BEGUN, (Kind.END, pack(End(0, 0, 0))), (Kind.TRAILER, pack(Trailer(1, 0, b"")))],
         "group 1 is missing"),
        ([BEGUN, _rows(GOOD[1], GOOD[0])], "does not follow"),
        ([BEGUN, _rows(GOOD[0], GOOD[0])], "does not follow"),
        ([BEGUN, _rows((GOOD[0][0], b"\xc0"))], "not a row"),
        ([BEGUN, _rows((b"\0\0" + GOOD[0][0][2:], GOOD[0][1]))], "not the key"),
        ([BEGUN, _rows(("text", b""))], "both of bytes"),
        ([BEGUN, _rows(5)], "not rows"),
        ([BEGUN, _row(version=0)], "out of range"),
        ([BEGUN, _row(revision=101)], "out of range"),
        ([BEGUN, _row(revision=0)], "out of range"),
        ([BEGUN, _row(unit="")], "out of range"),
        ([BEGUN, _row(unit="A" * 65)], "out of range"),
    ],
)  # fmt: skip
def test_what_no_cluster_holds_is_refused(what: list[tuple[Kind, bytes]], said: str) -> None:
    with pytest.raises(Corrupt, match=said):
        read(_forged(*what))


def test_a_slot_is_of_one_group() -> None:
    contents = Contents(HEADER)
    (row, *_) = stored(ROWS, 0)
    contents.begin(Begin(0, REVISION, 1, "a"))
    contents.rows([row])
    contents.end()
    contents.begin(Begin(1, REVISION, 1, "a"))
    with pytest.raises(Corrupt, match="is in group 1 and in group 0"):
        contents.rows([row])


def test_a_writer_checks_what_it_is_given() -> None:
    writer = BackupWriter(io.BytesIO().write, HEADER)
    writer.begin_group(Begin(0, 1, 1, "a"))
    with pytest.raises(Corrupt, match="out of range"):
        writer.rows(pack([GOOD[0]]))
    with pytest.raises(Corrupt, match="group 0 is missing"):
        writer.finish()


@pytest.mark.parametrize(
    "header",
    [
        HEADER._replace(format_version=2),
        HEADER._replace(origin="else"),
        HEADER._replace(groups=0),
        HEADER._replace(slots=70_000),
        HEADER._replace(groups=17),
        HEADER._replace(tables=(1,)),  # type: ignore[arg-type]
        HEADER._replace(begun_at_ms=-1),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(header: records.Header) -> None:
    data = records.MAGIC + records.encode(Kind.HEADER, records.encode_header(header))
    with pytest.raises(Corrupt):
        BackupReader(io.BytesIO(data).read)


@pytest.mark.parametrize("more", [[], ["what a later release", ["has"], 2.5]])
def test_one_of_a_later_release_is_refused_for_its_format_and_not_called_damaged(
    more: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = pack([*HEADER._replace(format_version=2), *more])
    data = records.MAGIC + records.encode(Kind.HEADER, header)
    with pytest.raises(records.NewerBackup, match="in format 2, and this release reads format 1"):
        BackupReader(io.BytesIO(data).read)
    (tmp_path / "later.backup").write_bytes(data)
    assert run_command(["verify", str(tmp_path / "later.backup")]) == 2
    told = capsys.readouterr().err
    assert "use the release that wrote it" in told and "damaged" not in told


def test_pieces_may_be_as_small_as_they_come() -> None:
    file = io.BytesIO(WHOLE)
    reader = BackupReader(lambda size: file.read(min(size, 1)))
    assert dict(row for _, rows in reader.chunks() for row in rows) == ROWS
