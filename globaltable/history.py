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
from globaltable.model import Op, OpKind, Outcome, OutcomeStatus
from globaltable.wire.rows import HistoryRow, decode_history

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


_OF_ANOTHER_OP: Final = Outcome(
    OutcomeStatus.INVALID_ARGUMENT,
    None,
    "client_id and sequence are those of another op that was answered before; each op needs a "
    "sequence of its own, and each client, a forked process too, a client_id of its own",
)


def answer_to(op: Op, row: HistoryRow) -> Outcome:
    """What an op is told whose identity is known: how it ended the first time. If that was another
    op its caller has none to retry, and must not take that one's end for its own."""
    same = (row.kind, row.name) == (op.kind, op.name)
    if row.status is OutcomeStatus.APPLIED and op.kind is not OpKind.UNBIND:
        same = same and row.unit == op.unit
    return row.outcome if same else _OF_ANOTHER_OP


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
        row = self.find_all([identity]).get(identity)
        return row.outcome if row is not None else None

    def find_all(self, identities: Iterable[Identity]) -> dict[Identity, HistoryRow]:
        """How those of the ops ended that are remembered. A record is decoded once, however many
        of its ops are asked for: a batch that was proposed twice asks for all of them."""
        wanted: dict[int, set[Identity]] = {}
        for identity in identities:
            revision = self._revision_by_op.get(identity)
            if revision is not None:
                wanted.setdefault(revision, set()).add(identity)
        found: dict[Identity, HistoryRow] = {}
        for revision, here in wanted.items():
            rows = decode_history(next(self.records_after(revision - 1)).data)
            by_identity = {identity_of(row.client_id, row.sequence): row for row in rows}
            missing = here - by_identity.keys()
            assert not missing, f"ops {missing} are indexed at {revision}, but not there"
            found.update((identity, by_identity[identity]) for identity in here)
        return found

    def _forget_oldest(self) -> None:
        record, identities = self._remembered.popleft()
        self._ops -= record.ops
        self._floor = record.revision
        for identity in identities:
            del self._revision_by_op[identity]
