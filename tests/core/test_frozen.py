"""A table frozen at a revision is seen as it was, whatever is applied and flushed behind it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from globaltable.model import Batch, Op, OpKind, qualified_name
from globaltable.row_keys import row_key
from globaltable.store.frozen import FrozenRows
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.table import RowSource
from globaltable.table import Table
from globaltable.table_state import Frozen

SLOTS = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbTableStore]:
    with closing(LmdbTableStore(tmp_path)) as opened:
        yield opened


class _Bound:
    """A table to which keys are bound, each by a batch of its own."""

    def __init__(self, store: LmdbTableStore, group: int) -> None:
        self.store, self.group = store, group
        self.store.refresh()
        image = store.image(group)
        self.table = Table(SLOTS, store.rows(group), image.state, image.history)

    def bind(self, key: int, unit: str) -> None:
        """Or move it, if it is bound."""
        name = qualified_name("t", f"k{key}")
        standing = self.table.get(name)
        kind = OpKind.BIND if standing is None else OpKind.MOVE
        revision = self.table.applied + 1
        version = standing.version if standing is not None else 0
        op = Op(kind, name, unit, version, 1, revision)
        self.table.apply(revision, 1, Batch(bytes(16), revision - 1, (op,)))

    def flush(self) -> None:
        flush = self.table.begin_flush()
        if flush is not None:
            self.store.flush([(self.group, flush)])
            self.store.refresh()
            self.table.end_flush()

    def units(self) -> dict[bytes, str]:
        return {key: binding.unit for key, binding in self.table.scan(b"", b"\xff" * 4)}


def _read(source: RowSource, frozen: Frozen, bytes_max: int) -> list[tuple[bytes, bytes]]:
    rows = FrozenRows(source, frozen)
    read: list[tuple[bytes, bytes]] = []
    while chunk := rows.next_rows(bytes_max):
        read += chunk
    return read


binds = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ABC")), max_size=25)
_groups = iter(range(1, 60_000))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(flushed=binds, amid=binds, fresh=binds, later=binds, bytes_max=st.integers(1, 400))
def test_it_is_seen_as_it_was(
    store: LmdbTableStore,
    flushed: list[tuple[int, str]],
    amid: list[tuple[int, str]],
    fresh: list[tuple[int, str]],
    later: list[tuple[int, str]],
    bytes_max: int,
) -> None:
    """Flushed, on its way to the disk, and not yet so: whether the flush under way comes to its end
    before or after the rows are opened."""
    for comes_first in (True, False):
        bound = _Bound(store, next(_groups))
        for one in flushed:
            bound.bind(*one)
        bound.flush()
        for one in amid:
            bound.bind(*one)
        under_way = bound.table.begin_flush()
        for one in fresh:
            bound.bind(*one)
        wanted, frozen = bound.units(), bound.table.freeze()
        for one in later:
            bound.bind(*one)
        if under_way is not None and comes_first:
            store.flush([(bound.group, under_way)])
        with closing(store.open_rows(bound.group)) as source:
            if under_way is not None:
                if not comes_first:
                    store.flush([(bound.group, under_way)])
                store.refresh()
                bound.table.end_flush()
            bound.flush()
            rows = _read(source, frozen, bytes_max)
        assert frozen.state.applied >= source.state.applied
        keys = [key for key, _ in rows]
        assert keys == sorted(set(keys))
        assert {key: _unit(data) for key, data in rows} == wanted


def _unit(data: bytes) -> str:
    from globaltable.wire.rows import decode_row

    return decode_row(data).unit or ""


def test_it_can_be_read_from_any_key_on(store: LmdbTableStore) -> None:
    bound = _Bound(store, 0)
    for key in range(20):
        bound.bind(key, "A")
        if key == 10:
            bound.flush()
    everything = sorted(row_key(qualified_name("t", f"k{key}"), SLOTS) for key in range(20))
    with closing(store.open_rows(0)) as source:
        rows = FrozenRows(source, bound.table.freeze())
        for start in (everything[7], everything[7] + b"\0", b"", everything[-1] + b"\0"):
            rows.seek(start)
            found: list[bytes] = []
            while chunk := rows.next_rows(50):
                found += [key for key, _ in chunk]
            assert found == [key for key in everything if key >= start]


def test_rows_of_other_groups_are_no_part_of_it(store: LmdbTableStore) -> None:
    for group in range(3):
        bound = _Bound(store, group)
        bound.bind(group, "ABC"[group])
        bound.flush()
    with closing(store.open_rows(1)) as source:
        assert [_unit(data) for _, data in source.next_rows(1_000)] == ["B"]
        assert source.next_rows(1_000) == []
        assert source.rows_about == 3
