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
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from globaltable.errors import Corrupt
from globaltable.model import Outcome
from globaltable.wire.rows import decode_history

HISTORY_OPS_MAX: Final = 16_384
"""Ops kept in each group. Part of the replicated state: changing it is a format change."""

_SEQUENCE_BITS: Final = 64


class HistoryRecord(NamedTuple):
    """The encoded rows of the batch applied at a revision. An empty batch weighs one op."""

    revision: int
    ops: int
    data: bytes


Identity = int
"""An op's client and sequence as one number. Only numbers are kept of ops, and so the cyclic
collector has nothing to walk here."""


def identity_of(client_id: int, sequence: int) -> Identity:
    return client_id << _SEQUENCE_BITS | sequence


class _Remembered(NamedTuple):
    record: HistoryRecord
    identities: Sequence[Identity]
    """Of the ops whose rows are in the record."""


class History:
    """Bounded, and compact: encoded records, and integers to find an op among them."""

    def __init__(self, floor: int, records: Iterable[HistoryRecord] = ()) -> None:
        self._floor = floor
        self._remembered: deque[_Remembered] = deque()
        self._ops = 0
        self._revision_by_op: dict[Identity, int] = {}
        for record in records:
            rows = decode_history(record.data)
            identities = [identity_of(row.client_id, row.sequence) for row in rows]
            if len(set(identities)) < len(identities) or not self.knows_none(identities):
                raise Corrupt(f"an op of revision {record.revision} is in the history twice")
            self.append(record, identities)

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
        start = bisect_right(self._remembered, revision, key=lambda one: one.record.revision)
        for position in range(start, len(self._remembered)):
            yield self._remembered[position].record

    def records(self) -> list[HistoryRecord]:
        """All that are kept, oldest first."""
        return [one.record for one in self._remembered]

    def knows_none(self, identities: Sequence[Identity]) -> bool:
        """Whether `find` would find none of these ops."""
        return self._revision_by_op.keys().isdisjoint(identities)

    def append(self, record: HistoryRecord, identities: Sequence[Identity]) -> None:
        """Remember a batch, of ops that were not known, and forget what the bound leaves out."""
        assert record.revision > self._floor, (record.revision, self._floor)
        assert not self._remembered or record.revision > self._remembered[-1].record.revision
        self._remembered.append(_Remembered(record, identities))
        self._ops += record.ops
        known = len(self._revision_by_op) + len(identities)
        self._revision_by_op.update(dict.fromkeys(identities, record.revision))
        assert len(self._revision_by_op) == known, f"an op of {record.revision} took effect twice"
        while self._ops > HISTORY_OPS_MAX and len(self._remembered) > 1:
            self._forget_oldest()

    def find(self, identity: Identity) -> Outcome | None:
        """The first outcome of an op, if it is remembered."""
        revision = self._revision_by_op.get(identity)
        if revision is None:
            return None
        record = next(self.records_after(revision - 1))
        for row in decode_history(record.data):
            if identity_of(row.client_id, row.sequence) == identity:
                return row.outcome
        raise AssertionError(f"op {identity:#x} is indexed at {revision}, but not there")

    def _forget_oldest(self) -> None:
        record, identities = self._remembered.popleft()
        self._ops -= record.ops
        self._floor = record.revision
        for identity in identities:
            del self._revision_by_op[identity]
