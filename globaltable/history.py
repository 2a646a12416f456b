"""The recent past of a group: how each of its last ops ended, by revision.

It serves two promises. *A retry takes effect once*: an op found here is answered with its first
outcome, whatever that was. *A watcher that reconnects misses nothing*: changes are read from here,
or the watcher is told that they are gone.

Invariants: the history is a pure function of the log, hence the same on every replica at the same
revision: its bound is a constant of the format, not a setting. Every batch applied after `floor`
is here, whole; nothing at or before it is.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from globaltable.model import Outcome
from globaltable.wire.rows import HistoryRow, decode_history

HISTORY_OPS_MAX: Final = 16_384
"""Ops kept in each group. Part of the replicated state: changing it is a format change."""

_SEQUENCE_BITS: Final = 64


class HistoryRecord(NamedTuple):
    """The encoded rows of the batch applied at a revision. An empty batch weighs one op."""

    revision: int
    ops: int
    data: bytes


class History:
    """Bounded, and compact: encoded records, and integers to find an op among them."""

    def __init__(self, floor: int, records: Iterable[HistoryRecord] = ()) -> None:
        self._floor = floor
        self._records: deque[HistoryRecord] = deque()
        self._ops = 0
        # (client, sequence) as one int -> the revision; only ints, so the cyclic collector
        # has nothing to walk here.
        self._revision_by_op: dict[int, int] = {}
        for record in records:
            self.append(record, decode_history(record.data))

    @property
    def floor(self) -> int:
        """Everything after this revision is kept."""
        return self._floor

    @property
    def ops(self) -> int:
        return self._ops

    def records_after(self, revision: int) -> Iterator[HistoryRecord]:
        """The records of later revisions, oldest first. `revision` must not be below `floor`."""
        assert revision >= self._floor, (revision, self._floor)
        start = bisect_right(self._records, revision, key=lambda record: record.revision)
        for position in range(start, len(self._records)):
            yield self._records[position]

    def append(self, record: HistoryRecord, rows: list[HistoryRow]) -> None:
        """Remember a batch, and forget what the bound no longer covers."""
        assert record.revision > self._floor, (record.revision, self._floor)
        assert not self._records or record.revision > self._records[-1].revision
        self._records.append(record)
        self._ops += record.ops
        for row in rows:
            key = row.client_id << _SEQUENCE_BITS | row.sequence
            self._revision_by_op.setdefault(key, record.revision)
        while self._ops > HISTORY_OPS_MAX and len(self._records) > 1:
            self._forget_oldest()

    def find(self, client_id: int, sequence: int) -> Outcome | None:
        """The first outcome of an op, if it is remembered."""
        revision = self._revision_by_op.get(client_id << _SEQUENCE_BITS | sequence)
        if revision is None:
            return None
        record = next(self.records_after(revision - 1))
        for row in decode_history(record.data):
            if row.client_id == client_id and row.sequence == sequence:
                return row.outcome
        raise AssertionError(f"op ({client_id}, {sequence}) is indexed at {revision}, not there")

    def _forget_oldest(self) -> None:
        oldest = self._records.popleft()
        self._ops -= oldest.ops
        self._floor = oldest.revision
        for row in decode_history(oldest.data):
            key = row.client_id << _SEQUENCE_BITS | row.sequence
            if self._revision_by_op.get(key) == oldest.revision:
                del self._revision_by_op[key]
