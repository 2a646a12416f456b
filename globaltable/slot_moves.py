"""What whoever moves a slot does next: from what its two groups hold of it, and from nothing else.

So nothing need be remembered of a move but what the logs say, and whoever comes after a crash goes
on with it; so may several at once, for the logs refuse what is out of order (`holdings`). What is
known of the two groups may be old, and of any replica: each step that one group is asked for
because of the other rests on a fact that never ceases to be one.

While the source serves, the slot is copied ahead, pass after pass, each with what has changed since
the one before. Once little has changed in a pass the source releases the slot; then what is left is
copied, and the target adopts it. Between release and adoption nobody serves it.
"""

import enum
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from globaltable.holdings import Holding, HoldingState
from globaltable.slot_history import SlotHistory
from globaltable.slot_rows import contents_of, copied_row
from globaltable.slot_steps import (
    COPY_OPS_MAX,
    COPY_ROWS_MAX,
    Adopt,
    CopiedRow,
    Copy,
    Drop,
    Reclaim,
    Refuse,
    Release,
    Step,
)
from globaltable.table import Table
from globaltable.wire.rows import HistoryRow, decode_row

COPY_BYTES: Final = 65_536
"""About so many bytes of rows are in one `Copy`: it goes through the log of a group that serves."""

BEHIND_ROWS_MAX: Final = 256
"""So few rows may have changed since the last pass for the slot to be released."""


class Ends(NamedTuple):
    """The two groups of a slot's move, by number."""

    slot: int
    source: int
    target: int


class Ask(NamedTuple):
    """Have a group take a step. If it refuses, the holdings have changed: decide anew."""

    group: int
    step: Step


class CopyOn(NamedTuple):
    """Have the target take a pass of `copies`, each one once the one before was taken."""

    hop: int
    after: int


class Rest(enum.Enum):
    """There is nothing to do."""

    DONE = "the slot is where it is to be, and nothing of it is left where it was"
    NOT_HERE = "the source does not hold the slot, nor has it released it to the target"


Action = Ask | CopyOn | Rest


class Move(NamedTuple):
    """A move to be gone on with (`next_action`), or to be undone as far as it can be."""

    ends: Ends
    undo: bool


def duty(slot: int, group: int, holding: Holding, wanted: int) -> Move | Ask | None:
    """What is to be done about a slot by who cares for `group`, if the slot is to be in
    `wanted`."""
    match holding.state:
        case HoldingState.HELD if group != wanted:
            return Move(Ends(slot, group, wanted), undo=False)
        case HoldingState.RELEASED:
            return Move(Ends(slot, group, holding.group), undo=group == wanted)
        case HoldingState.DROPPED if not holding.emptied:
            return Move(Ends(slot, group, holding.group), undo=False)
        case HoldingState.COPYING if group != wanted:
            return Ask(group, Refuse(slot, holding.hop, holding.group))
        case HoldingState.REFUSED if not holding.emptied:
            return Ask(group, Drop(slot, holding.hop))
    return None


def next_action(
    ends: Ends, here: Table, there: Holding, *, ahead: bool = True, undo: bool = False
) -> Action:
    """What brings the slot nearer to the target, or, if the move is to be undone, back.

    `here` is the source's table, of any replica of it, and `there` what the target holds. Without
    `ahead` the slot is released however much has changed since it was copied. A move of which the
    target has adopted the slot already is completed, and to be undone by another.
    """
    slot, source, target = ends
    held = here.holdings.of(slot)
    if held.state is HoldingState.HELD:
        return _give_up(ends, held, there) if undo else _prepare(ends, here, held, there, ahead)
    if held.state not in (HoldingState.RELEASED, HoldingState.DROPPED) or held.group != target:
        return Rest.NOT_HERE
    hop = held.hop
    if there.adopted >= hop:
        return Rest.DONE if held.emptied else Ask(source, Drop(slot, hop))
    if there.never_adopts(hop):
        return Ask(source, Reclaim(slot, hop))
    if undo:
        return Ask(target, Refuse(slot, hop, source))
    begun = there.state is HoldingState.COPYING and (there.hop, there.group) == (hop, source)
    if not begun or there.through < held.revision:
        return CopyOn(hop, there.through if begun else 0)
    contents = contents_of(
        copied_row(name, decode_row(data)) for name, data in here.rows_of_slot(slot)
    )
    if contents != (there.rows, there.digest):
        # Whoever copied it has left something out. There is no way on, but a way back.
        return Ask(target, Refuse(slot, hop, source))
    return Ask(target, Adopt(slot, hop, source, held.revision, *contents))


def _prepare(ends: Ends, here: Table, held: Holding, there: Holding, ahead: bool) -> Action:
    """While the source serves."""
    slot, source, target = ends
    if there.state is HoldingState.HELD:
        # What is known of one of the two is old.
        return Rest.NOT_HERE
    if there.state is HoldingState.COPYING:
        if there.hop <= held.hop or there.group != source:
            return CopyOn(max(held.hop, there.hop) + 1, 0)
        if ahead and _is_far_behind(here, slot, there.through):
            return CopyOn(there.hop, there.through)
        return Ask(source, Release(slot, there.hop, target))
    if not there.is_empty:
        # Left of an earlier move, since which the slot was adopted elsewhere: it is held here.
        return Ask(target, Drop(slot, there.hop))
    return CopyOn(max(held.hop, there.hop) + 1, 0)


def _is_far_behind(here: Table, slot: int, through: int) -> bool:
    changed = (
        name for name, data in here.rows_of_slot(slot) if decode_row(data).revision > through
    )
    return len(list(islice(changed, BEHIND_ROWS_MAX + 1))) > BEHIND_ROWS_MAX


def _give_up(ends: Ends, held: Holding, there: Holding) -> Action:
    """While the source serves: what has been copied is deleted."""
    slot, source, target = ends
    if there.group != source or there.hop < held.hop:
        return Rest.DONE
    if there.state is HoldingState.COPYING:
        return Ask(target, Refuse(slot, there.hop, source))
    if there.state is HoldingState.REFUSED and not there.emptied:
        return Ask(target, Drop(slot, there.hop))
    return Rest.DONE


def copies(ends: Ends, past: SlotHistory, hop: int, after: int) -> Iterator[Copy | None]:
    """One pass: all that the source has changed of the slot after its revision `after`, and how ops
    on it ended. None: nothing yet, and time to let others go on. `past` is of the source's table.

    It is read some at a time, while the table goes on: what changes behind the revision at which
    the pass began, through which it is complete, may be in it, and is in the next one. A table
    that a snapshot has taken the place of must not be read on: the pass is to be begun anew.
    """
    slot, source, _ = ends
    here = past.table
    through = here.applied

    def copy(rows: list[CopiedRow], ops: list[HistoryRow], upto: int) -> Copy:
        return Copy(slot, hop, source, after, upto, tuple(rows), tuple(ops))

    while not past.read_on():
        yield None
    ops = past.of(slot, after)
    while len(ops) > COPY_OPS_MAX:
        yield copy([], ops[:COPY_OPS_MAX], after)
        del ops[:COPY_OPS_MAX]
    name: bytes = b""
    while True:
        rows, name, ended = _rows(here, slot, after, name)
        if ended:
            yield copy(rows, ops, through)
            return
        yield copy(rows, ops, after)
        ops = []


def _rows(here: Table, slot: int, after: int, name: bytes) -> tuple[list[CopiedRow], bytes, bool]:
    """Rows changed after a revision, of names behind `name`: as many as one copy takes, the last
    name looked at, and whether there is none behind it."""
    rows: list[CopiedRow] = []
    size = 0
    for name, data in here.rows_of_slot(slot, name):  # noqa: B020 - the place that is gone on from
        row = decode_row(data)
        if row.revision > after:
            rows.append(copied_row(name, row))
            size += len(name) + len(data)
            if size >= COPY_BYTES or len(rows) >= COPY_ROWS_MAX:
                return rows, name, False
    return rows, name, True
