"""What a table hands to others as values: where it stands, what is to be flushed, how it was."""

from typing import NamedTuple

from globaltable.history import HistoryRecord
from globaltable.holdings import NO_MOVES, Moves
from globaltable.members import Members


class TableState(NamedTuple):
    """Where a table stands: the last revision applied, its term, and the history's floor; who the
    group's members were then, but where that has never been written: those that founded it; and
    what it held of the slots that were moved."""

    applied: int
    applied_term: int
    floor: int
    members: Members | None = None
    moves: Moves = NO_MOVES


class Flush(NamedTuple):
    """Changes on their way to the disk, and the state they lead to."""

    rows: dict[bytes, bytes]
    """An empty one is to be deleted."""
    history: list[HistoryRecord]
    state: TableState


class Frozen(NamedTuple):
    """A table at one revision, as far as it lies in memory. Under it are the rows of the store as
    they are found by whoever reads them after this was made, and before anything that was applied
    later is flushed."""

    state: TableState
    rows: dict[bytes, bytes]
    """In memory: they stand over the flushed ones. An empty one has been deleted."""
    history: list[HistoryRecord]
