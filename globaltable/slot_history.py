"""A group's history of ops, by slot: read once for all slots that leave the group.

A slot that moves takes along how ops on it ended, so that a retry is told its first outcome there.
To look through the whole history for each slot would cost as much as many ops, slot after slot.

Invariant: what was read stays, be it that the history has forgotten it since: who is told the
outcome of an op for longer than need be is told the truth.
"""

from collections import defaultdict
from typing import Any, Final
from zlib import crc32

from globaltable.table import Table
from globaltable.wire.packing import unpack
from globaltable.wire.rows import HistoryRow, history_rows_of

READ_OPS_AT_ONCE: Final = 1_024
"""Of the history, before who reads it gives way to others."""


class SlotHistory:
    """Of one table, as long as no snapshot takes its place."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._read_to = 0
        self._by_slot: defaultdict[int, list[tuple[int, Any]]] = defaultdict(list)
        """The revisions at which ops were remembered, and their rows as they are packed."""

    def read_on(self) -> bool:
        """Read some of what has come since; whether that was all."""
        history, slots = self.table.history, self.table.slots
        budget = READ_OPS_AT_ONCE
        for record in history.records_after(max(self._read_to, history.floor)):
            if budget <= 0:
                return False
            budget -= record.ops
            self._read_to = record.revision
            for fields in unpack(record.data):
                self._by_slot[crc32(fields[1]) % slots].append((record.revision, fields))
        return True

    def of(self, slot: int, after: int) -> list[HistoryRow]:
        """How ops on the slot ended, of what was read, that were applied after a revision, or, of
        those that were copied in, were remembered after it."""
        return history_rows_of(
            [fields for revision, fields in self._by_slot.get(slot, ()) if revision > after]
        )
