"""Batches between their check and their application: each once in a leader's log, and decoded once.

Invariant: what is kept decoded is bounded, for a batch may never be applied here.
"""

from typing import Final

from globaltable.model import Batch
from globaltable.wire.batches import decode_batch

_DECODED_OPS_MAX: Final = 65_536
"""Ops kept decoded. Of batches that are never applied here, because their leader was deposed say,
no more remains."""


def _weight(batch: Batch) -> int:
    """In ops; a read barrier is kept too, and counts as one."""
    return max(1, len(batch.ops))


class BatchesUnderWay:
    """Of one replica."""

    def __init__(self) -> None:
        self._decoded: dict[bytes, Batch] = {}
        """What this replica has made or checked already, by its bytes, until it is applied."""
        self._decoded_ops = 0
        self._appended: set[bytes] = set()
        """Ids of the batches that this replica appended as the leader of `_term`."""
        self._term = 0

    @property
    def decoded_ops(self) -> int:
        """What the batches weigh that are kept decoded."""
        return self._decoded_ops

    def is_new(self, batch: Batch, term: int) -> bool:
        """Whether a leader has not appended it yet in its term; from now on it has. What it has
        appended already it will apply, or lead no longer: who proposes it again because it is slow,
        over a link or to a disk, would only make it slower."""
        if self._term != term:
            self._term = term
            self._appended.clear()
        if batch.batch_id in self._appended:
            return False
        self._appended.add(batch.batch_id)
        return True

    def keep(self, payload: bytes, batch: Batch) -> None:
        """A payload need not be decoded once more."""
        if payload in self._decoded:
            return
        if self._decoded_ops + _weight(batch) > _DECODED_OPS_MAX:
            self._decoded.clear()
            self._decoded_ops = 0
        self._decoded[payload] = batch
        self._decoded_ops += _weight(batch)

    def take(self, payload: bytes) -> Batch:
        """It is committed, and under way no more. Raises `ProtocolError` if it is no batch."""
        batch = self._decoded.pop(payload, None)
        if batch is None:
            batch = decode_batch(payload)
        else:
            self._decoded_ops -= _weight(batch)
        self._appended.discard(batch.batch_id)
        return batch
