"""What rows a backup may hold, and what it is that it holds: checked as it is written, and read.

Invariants of what passes: each name stands once, in the slot that it hashes to; a slot's rows of a
table are all of one group; none was changed behind the revision that its group's rows are said to
be of. So nothing is found out only when the backup is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from globaltable import limits
from globaltable.backup.records import Begin, End, Header, Rows
from globaltable.errors import Corrupt
from globaltable.model import is_name, split_name
from globaltable.row_keys import SLOT_BYTES, row_key
from globaltable.wire.rows import Row, decode_row


class NamedRow(NamedTuple):
    name: bytes
    row: Row


@dataclass(slots=True)
class Count:
    bindings: int = 0
    tombstones: int = 0

    @property
    def rows(self) -> int:
        return self.bindings + self.tombstones


@dataclass(slots=True)
class Tally:
    """How much there is, by table and by group."""

    by_table: dict[str, Count] = field(default_factory=dict)
    by_group: dict[int, Count] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(count.rows for count in self.by_group.values())

    @property
    def bindings(self) -> int:
        return sum(count.bindings for count in self.by_group.values())

    def add(self, group: int, rows: list[NamedRow]) -> None:
        of_group = self.by_group.setdefault(group, Count())
        for name, row in rows:
            of_table = self.by_table.get(table := split_name(name)[0])
            if of_table is None:
                of_table = self.by_table[table] = Count()
            for count in (of_group, of_table):
                if row.unit is None:
                    count.tombstones += 1
                else:
                    count.bindings += 1


class Contents:
    """Told of everything in the file's order. Raises `Corrupt` at what cannot stand there."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.tally = Tally()
        self.heads: dict[int, Begin] = {}
        """The groups that have begun."""
        self._present: Begin | None = None
        self._last_key = b""
        self._group_of_slot: dict[tuple[int, str], int] = {}

    @property
    def missing(self) -> list[int]:
        """Groups that have not ended."""
        ended = self.heads.keys() - ({self._present.group} if self._present else set())
        return sorted(set(range(self.header.groups)) - ended)

    def begin(self, head: Begin) -> None:
        if self._present is not None:
            raise Corrupt(f"group {head.group} begins before group {self._present.group} has ended")
        if not head.group < self.header.groups:
            raise Corrupt(f"group {head.group} is none of {self.header.groups}")
        if head.group in self.heads:
            raise Corrupt(f"group {head.group} comes twice")
        self.heads[head.group] = self._present = head
        self.tally.by_group[head.group] = Count()
        self._last_key = b""

    def rows(self, rows: Rows) -> list[NamedRow]:
        head = self._present
        if head is None:
            raise Corrupt("rows that belong to no group")
        decoded = []
        for key, data in rows:
            if not self._last_key < key:
                raise Corrupt(f"row {key!r} does not follow {self._last_key!r}")
            self._last_key = key
            decoded.append(self._row(head, key, data))
        self.tally.add(head.group, decoded)
        return decoded

    def _row(self, head: Begin, key: bytes, data: bytes) -> NamedRow:
        name = key[SLOT_BYTES:]
        if not is_name(name) or row_key(name, self.header.slots) != key:
            raise Corrupt(f"{key[:64]!r} is not the key of a row")
        table, session = split_name(name)
        row = decode_row(data)
        if (
            not 1 <= row.version <= limits.VERSION_MAX
            or not 0 < row.revision <= head.revision
            or (row.unit is not None and not 1 <= len(row.unit) <= limits.UNIT_BYTES_MAX)
            or len(session.encode()) > limits.KEY_BYTES_MAX
        ):
            raise Corrupt(f"{session!r} of {table!r} is out of range: {row}")
        slot = int.from_bytes(key[:SLOT_BYTES], "big")
        owner = self._group_of_slot.setdefault((slot, table), head.group)
        if owner != head.group:
            raise Corrupt(f"slot {slot} of {table!r} is in group {head.group} and in group {owner}")
        return NamedRow(name, row)

    def end(self) -> End:
        """Of the present group."""
        if self._present is None:
            raise Corrupt("a group ends that has not begun")
        group, self._present = self._present.group, None
        count = self.tally.by_group[group]
        return End(group, count.rows, count.bindings)

    def totals(self) -> tuple[int, int]:
        """Groups and rows of a file that is complete."""
        if self.missing:
            raise Corrupt(f"group {self.missing[0]} is missing")
        return len(self.heads), self.tally.rows


def counts(tally: Mapping[str, Count] | Mapping[int, Count]) -> dict[str, dict[str, int]]:
    """For JSON."""
    return {
        str(name): {"bindings": count.bindings, "tombstones": count.tombstones}
        for name, count in sorted(tally.items())
    }
