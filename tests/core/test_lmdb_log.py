"""The log on real LMDB: what was committed is there after a reopen, or `load` says why not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from globaltable.errors import Corrupt
from globaltable.raft.journal import Journal
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.log import Entry, HardState, LogImage, LogWrite

STATE = HardState(3, "b")


def _entries(*terms: int, first: int = 1, size: int = 8) -> tuple[Entry, ...]:
    return tuple(
        Entry(bytes([term]) * size, index, term) for index, term in enumerate(terms, first)
    )


def _write(
    group: int = 0,
    entries: tuple[Entry, ...] = (),
    *,
    first: int | None = None,
    truncate_from: int | None = None,
    state: HardState | None = None,
) -> LogWrite:
    return LogWrite(group, first, truncate_from, entries, state)


Reopen = Callable[[], LmdbLogStore]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Reopen]:
    """Opens the store, closing the one before: what only a process held is gone."""
    opened: list[LmdbLogStore] = []

    def again() -> LmdbLogStore:
        if opened:
            opened.pop().close()
        opened.append(LmdbLogStore(tmp_path / "log"))
        return opened[0]

    yield again
    opened.pop().close()


def test_a_new_group_has_an_empty_log(reopen: Reopen) -> None:
    assert reopen().load(0) == LogImage((), HardState(0, None))


def test_entries_term_and_vote_are_there_after_a_reopen(reopen: Reopen) -> None:
    reopen().commit([_write(entries=_entries(1, 1, 2), state=STATE)])
    assert reopen().load(0) == LogImage(_entries(1, 1, 2), STATE)


def test_a_vote_for_nobody_is_remembered_as_such(reopen: Reopen) -> None:
    reopen().commit([_write(entries=_entries(1), state=HardState(9, None))])
    assert reopen().load(0) == LogImage(_entries(1), HardState(9, None))


def test_a_term_without_entries_is_of_a_log_that_was_lost_unless_it_was_discarded(
    reopen: Reopen,
) -> None:
    reopen().commit([_write(state=HardState(9, "b"))])
    with pytest.raises(Corrupt, match="group 0 has a term but no log entries"):
        reopen().load(0)
    discarded = HardState(0, None, rebuilding=True)
    reopen().commit([_write(state=discarded)])
    assert reopen().load(0) == LogImage((), discarded)


def test_a_term_stays_when_only_entries_are_written(reopen: Reopen) -> None:
    store = reopen()
    store.commit([_write(state=STATE)])
    store.commit([_write(entries=_entries(3))])
    assert reopen().load(0).hard_state == STATE


@pytest.mark.parametrize(
    ("write", "left"),
    [
        (_write(truncate_from=3), _entries(1, 1)),
        (_write(truncate_from=2), _entries(1)),
        (_write(truncate_from=3, entries=_entries(2, first=3)), _entries(1, 1, 2)),
        (_write(first=3), _entries(1, 1, first=3)),
        (_write(first=2, entries=_entries(2, first=5)), _entries(1, 1, 1, 2, first=2)),
        (_write(first=9, truncate_from=9, entries=_entries(7, first=9)), _entries(7, first=9)),
    ],
    ids=[
        "truncate",
        "truncate more",
        "replace a tail",
        "compact",
        "compact, append",
        "begin anew",
    ],
)
def test_a_write_drops_below_then_behind_then_adds(
    reopen: Reopen, write: LogWrite, left: tuple[Entry, ...]
) -> None:
    store = reopen()
    store.commit([_write(entries=_entries(1, 1, 1, 1), state=STATE)])
    store.commit([write])
    assert reopen().load(0) == LogImage(left, STATE)


@pytest.mark.parametrize("neighbour", [0, 1, 255, 257, 511, 65_534])
def test_a_group_is_not_touched_by_its_neighbours(reopen: Reopen, neighbour: int) -> None:
    store = reopen()
    store.commit([_write(256, _entries(1, 2), state=STATE)])
    store.commit([_write(neighbour, _entries(1, 1), state=HardState(1, "c"))])
    store.commit([_write(neighbour, first=2, truncate_from=1)])
    assert store.load(256) == LogImage(_entries(1, 2), STATE)


def test_the_writes_of_a_turn_are_durable_all_or_none(reopen: Reopen) -> None:
    """Group commit: what fails in one group leaves nothing of the others."""
    store = reopen()
    unwritable = Entry(b"x", 1, 2**64)
    with pytest.raises(OverflowError):
        store.commit([_write(0, _entries(1), state=STATE), _write(1, (unwritable,))])
    assert store.load(0) == LogImage()


def test_a_map_that_is_full_grows(tmp_path: Path) -> None:
    store = LmdbLogStore(tmp_path, map_bytes=65_536)
    entries = _entries(*[1] * 64, size=16_384)
    store.commit([_write(state=STATE)])
    for entry in entries:
        store.commit([_write(entries=(entry,))])
    assert store.load(0) == LogImage(entries, STATE)
    store.close()
    small_again = LmdbLogStore(tmp_path, map_bytes=65_536)
    assert small_again.load(0).entries == entries
    small_again.close()


def test_a_replica_that_never_reached_a_term_is_as_new_after_a_crash(reopen: Reopen) -> None:
    """A node may be started first, alone, and be killed: its log holds but the root."""
    write = Journal(0, LogImage(), 1, 0).take_write()
    assert write is not None
    reopen().commit([write])
    assert reopen().load(0) == LogImage(write.entries, HardState(0, None))


@pytest.mark.parametrize("vote", [None, "b"])
def test_the_mark_of_a_replica_that_is_rebuilt_stays_until_it_is_cleared(
    reopen: Reopen, vote: str | None
) -> None:
    marked = HardState(4, vote, rebuilding=True)
    reopen().commit([_write(entries=_entries(1), state=marked)])
    reopen().commit([_write(entries=_entries(1, first=2))])
    assert reopen().load(0) == LogImage(_entries(1, 1), marked)
    reopen().commit([_write(state=HardState(5, vote))])
    assert reopen().load(0).hard_state == HardState(5, vote)


# --- what cannot be true -----------------------------------------------------------------------


def _tamper(
    directory: Path, database: bytes, change: Callable[[bytes, bytes], bytes | None]
) -> None:
    """Change, or delete, every record of one kind, behind the store's back."""
    env = lmdb.open(str(directory), max_dbs=2)
    records = env.open_db(database)
    with env.begin(write=True) as transaction, transaction.cursor(records) as cursor:
        for key, value in [(bytes(key), bytes(value)) for key, value in cursor]:
            changed = change(key, value)
            if changed is None:
                transaction.delete(key, db=records)
            else:
                transaction.put(key, changed, db=records)
    env.close()


def _written(directory: Path) -> None:
    store = LmdbLogStore(directory)
    store.commit([_write(7, _entries(1, 1, 2), state=STATE)])
    store.close()


def _assert_corrupt(directory: Path, match: str) -> None:
    store = LmdbLogStore(directory)
    with pytest.raises(Corrupt, match=match):
        store.load(7)
    store.close()


@pytest.mark.parametrize("at", range(0, 20, 3))
def test_a_flipped_bit_is_found_and_the_entry_named(tmp_path: Path, at: int) -> None:
    _written(tmp_path)

    def flip(key: bytes, value: bytes) -> bytes:
        return value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :] if key[-1] == 2 else value

    _tamper(tmp_path, b"entries", flip)
    _assert_corrupt(tmp_path, "log entry 2 of group 7 fails its checksum")


@pytest.mark.parametrize("length", [0, 3, 4, 11, 19])
def test_a_shortened_entry_is_found(tmp_path: Path, length: int) -> None:
    _written(tmp_path)
    _tamper(tmp_path, b"entries", lambda key, value: value[:length] if key[-1] == 3 else value)
    _assert_corrupt(tmp_path, "log entry 3 of group 7")


def test_an_entry_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    """The checksum covers the place."""
    _written(tmp_path)
    kept: list[bytes] = []

    def swap(key: bytes, value: bytes) -> bytes:
        kept.append(value)
        return kept[0]

    _tamper(tmp_path, b"entries", swap)
    _assert_corrupt(tmp_path, "log entry 2 of group 7 fails its checksum")


def test_a_missing_entry_is_found(tmp_path: Path) -> None:
    _written(tmp_path)
    _tamper(tmp_path, b"entries", lambda key, value: None if key[-1] == 2 else value)
    _assert_corrupt(tmp_path, "log entry 3 of group 7 follows entry 1; some are missing")


def test_a_damaged_vote_is_found(tmp_path: Path) -> None:
    """A replica that forgot its vote could give it twice."""
    _written(tmp_path)
    _tamper(tmp_path, b"states", lambda key, value: value[:-1] + b"c")
    _assert_corrupt(tmp_path, "term and vote of group 7 fails its checksum")


def test_a_lost_vote_is_found(tmp_path: Path) -> None:
    _written(tmp_path)
    _tamper(tmp_path, b"states", lambda key, value: None)
    _assert_corrupt(tmp_path, "group 7 has log entries but no term")


def test_the_groups_of_which_anything_is_stored_are_known(tmp_path: Path) -> None:
    """Those of replicas that are no more, too: what is left of one says that it is joining."""
    log = LmdbLogStore(tmp_path / "log")
    gone = HardState(7, "b", joining=True)
    log.commit(
        [LogWrite(3, None, 0, (), gone), LogWrite(1, None, None, (), HardState(0, None, True))]
    )
    assert log.groups() == [1, 3]
    assert [log.load(group).hard_state for group in (1, 3)] == [HardState(0, None, True), gone]
    log.close()
