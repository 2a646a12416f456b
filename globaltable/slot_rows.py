"""The rows of one slot as they are copied from group to group, counted, compared and deleted.

Responsible for what a step of a slot's move (`slot_steps`) does to the rows of a group, beside what
it does to its holdings (`holdings`).

Invariants: a step is taken whole, or refused and nothing has changed. A staged row gives way to a
later version only, so copies may come again and in any order. The digest of rows depends on neither
their order nor their revisions, which are of each group: it is a sum of theirs, and kept as rows
are staged, so that to adopt a slot costs the same however many rows it has.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple, Protocol

from globaltable.errors import StepRefused
from globaltable.holdings import (
    DIGEST_BYTES,
    NO_ROWS_DIGEST,
    Holding,
    adopted,
    copying,
    dropping,
    reclaimed,
    refused,
    released,
)
from globaltable.model import TOPOLOGY_NAME
from globaltable.slot_steps import (
    DROP_ROWS_MAX,
    Adopt,
    CopiedRow,
    Copy,
    Drop,
    Reclaim,
    Refuse,
    Release,
    Step,
)
from globaltable.topology import slot_of
from globaltable.wire.packing import pack
from globaltable.wire.rows import HistoryRow, Row, decode_row, encode_row

_MODULUS: Final = 1 << (8 * DIGEST_BYTES)


class SlotRows(Protocol):
    """The rows of one group by their names, as a step reads and changes them."""

    def row(self, name: bytes) -> bytes | None: ...

    def put_row(self, name: bytes, data: bytes) -> None: ...

    def delete_row(self, name: bytes) -> None: ...

    def rows_of_slot(self, slot: int, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Names, those behind `after`, and rows, ascending. Valid until a row changes."""
        ...


class Contents(NamedTuple):
    """How many rows there are, and their digest."""

    rows: int = 0
    digest: bytes = NO_ROWS_DIGEST

    def plus(self, row: CopiedRow) -> "Contents":
        return self._with(1, _number(row))

    def minus(self, row: CopiedRow) -> "Contents":
        return self._with(-1, -_number(row))

    def _with(self, rows: int, number: int) -> "Contents":
        total = (int.from_bytes(self.digest, "big") + number) % _MODULUS
        return Contents(self.rows + rows, total.to_bytes(DIGEST_BYTES, "big"))


def _number(row: CopiedRow) -> int:
    return int.from_bytes(hashlib.blake2b(pack(row), digest_size=DIGEST_BYTES).digest(), "big")


def contents_of(rows: Iterable[CopiedRow]) -> Contents:
    contents = Contents()
    for row in rows:
        contents = contents.plus(row)
    return contents


def copied_row(name: bytes, row: Row) -> CopiedRow:
    """A stored row, without its revision."""
    return CopiedRow(name, row.unit, row.version, row.client_id, row.sequence)


class Taken(NamedTuple):
    """What a step led to: the slot's holding, and ops of the slot that are to be remembered."""

    holding: Holding
    ops: tuple[HistoryRow, ...] = ()


def take_step(step: Step, holding: Holding, revision: int, slots: int, rows: SlotRows) -> Taken:
    """Raises `StepRefused`, and nothing has changed."""
    if not step.slot < slots:
        raise StepRefused(f"slot {step.slot} is none of {slots}")
    match step:
        case Release(slot, hop, to):
            if slot == slot_of(TOPOLOGY_NAME, slots):
                raise StepRefused(f"slot {slot}, in which the topology is kept, stays in its group")
            return Taken(released(holding, hop, to, revision))
        case Copy():
            return _copy(step, holding, revision, slots, rows)
        case Adopt(_, hop, source, released_at, count, digest):
            return Taken(adopted(holding, hop, source, released_at, (count, digest), revision))
        case Drop(slot, hop):
            return Taken(_drop(slot, dropping(holding, hop, revision), rows))
        case Refuse(_, hop, source):
            return Taken(refused(holding, hop, source, revision))
        case Reclaim(_, hop):
            return Taken(reclaimed(holding, hop, revision))


def _copy(step: Copy, holding: Holding, revision: int, slots: int, rows: SlotRows) -> Taken:
    holding = copying(holding, step.hop, step.source, step.after, revision)
    names = [*(row.name for row in step.rows), *(op.name for op in step.ops)]
    strays = [name for name in names if slot_of(name, slots) != step.slot]
    if strays:
        raise StepRefused(f"{strays[0][:80]!r} is not of slot {step.slot}")
    contents = Contents(holding.rows, holding.digest)
    staged: dict[bytes, bytes] = {}
    for row in step.rows:
        data = staged.get(row.name) or rows.row(row.name)
        if data is not None:
            old = decode_row(data)
            if old.version > row.version or copied_row(row.name, old) == row:
                continue
            if old.version == row.version:
                raise StepRefused(
                    f"{row.name[:80]!r} is copied in as {row.unit!r} at version {row.version}, "
                    f"which is staged as {old.unit!r}"
                )
            contents = contents.minus(copied_row(row.name, old))
        contents = contents.plus(row)
        _, unit, version, client_id, sequence = row
        staged[row.name] = encode_row((unit, version, revision, client_id, sequence))
    for name, data in staged.items():
        rows.put_row(name, data)
    through = max(holding.through, step.through)
    return Taken(
        holding._replace(through=through, rows=contents.rows, digest=contents.digest), step.ops
    )


def _drop(slot: int, holding: Holding, rows: SlotRows) -> Holding:
    names = [name for name, _ in islice(rows.rows_of_slot(slot), DROP_ROWS_MAX + 1)]
    for name in names[:DROP_ROWS_MAX]:
        rows.delete_row(name)
    return holding._replace(emptied=len(names) <= DROP_ROWS_MAX)
