"""Rows in memory over rows on the disk are found as if they all lay in one place."""

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from globaltable.layered_rows import LayeredRows

KEYS = [bytes([slot, name]) for slot in range(3) for name in range(3)]


class _Disk:
    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(one for one in self.rows.items() if start <= one[0] < end)

    def write(self, rows: dict[bytes, bytes]) -> None:
        self.rows = {key: data for key, data in {**self.rows, **rows}.items() if data}


class _AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = _Disk()
        self.rows = LayeredRows(self.disk)
        self.expected: dict[bytes, bytes] = {}
        self.flushing: dict[bytes, bytes] | None = None

    @rule(key=st.sampled_from(KEYS), data=st.binary(min_size=1, max_size=2))
    def put(self, key: bytes, data: bytes) -> None:
        self.rows.put(key, data)
        self.expected[key] = data

    @rule(keys=st.sets(st.sampled_from(KEYS)), data=st.binary(min_size=1, max_size=2))
    def put_all(self, keys: set[bytes], data: bytes) -> None:
        self.rows.put_all((key, data) for key in keys)
        self.expected.update(dict.fromkeys(keys, data))

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: bytes) -> None:
        self.rows.delete(key)
        self.expected.pop(key, None)

    @precondition(lambda self: self.flushing is None)
    @rule()
    def begin_flush(self) -> None:
        self.flushing = self.rows.begin_flush()
        assert not self.rows.changed_count

    @precondition(lambda self: self.flushing is not None)
    @rule()
    def end_flush(self) -> None:
        assert self.flushing is not None
        self.disk.write(self.flushing)
        self.rows.end_flush()
        self.flushing = None

    @invariant()
    def each_row_is_found(self) -> None:
        assert {key: data for key in KEYS if (data := self.rows.get(key))} == self.expected

    @invariant()
    def ranges_are_in_order_and_whole(self) -> None:
        scan = self.rows.scanner()
        for start, end in ((b"", b"\xff"), (KEYS[1], KEYS[4]), (KEYS[5], KEYS[5])):
            among = sorted(one for one in self.expected.items() if start <= one[0] < end)
            assert list(self.rows.scan(start, end)) == list(scan(start, end)) == among

    @invariant()
    def none_are_there_only_if_none_is_found(self) -> None:
        for key in KEYS:
            if self.rows.has_none([key]):
                assert key not in self.expected
        absent = set(KEYS) - self.expected.keys() - self.rows.unflushed().keys()
        assert self.rows.has_none(list(absent))


TestAnyOrder = _AnyOrder.TestCase


def test_one_flush_is_under_way_at_a_time() -> None:
    rows = LayeredRows(_Disk())
    rows.begin_flush()
    with pytest.raises(AssertionError, match="one flush"):
        rows.begin_flush()
    rows.end_flush()
    with pytest.raises(AssertionError, match="no flush"):
        rows.end_flush()
