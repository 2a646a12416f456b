"""What the table stores on disk, as plain values, and the jobs that change it.

The table's disk is off the hot path: jobs are carried out in order, by one worker, and their
results come back to the node's core as inputs. Nothing is acknowledged because of them, but for
an installed snapshot, whose acknowledgement waits for it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from globaltable.history import HistoryRecord
from globaltable.layered_rows import FlushedRows
from globaltable.table_state import Flush, TableState

ROOT_STATE = TableState(applied=1, applied_term=0, floor=1)
"""A new group: its log begins with an entry at index 1, term 0, that every replica holds."""

JOINING_STATE = TableState(applied=0, applied_term=0, floor=0)
"""A replica that joins a group: it lacks even that entry, for who the first members were stands
in no entry. So it is sent a snapshot, which tells them."""


class TableImage(NamedTuple):
    """A group's table as found at start, or after a snapshot was installed."""

    state: TableState
    history: list[HistoryRecord]


class SnapshotChunk(NamedTuple):
    """A piece of a snapshot, of bounded size. `payload` is opaque to all but the stores."""

    payload: bytes
    last: bool


class SnapshotSource(Protocol):
    """A frozen view of a group's flushed table, read piece by piece."""

    @property
    def state(self) -> TableState: ...

    def next_chunk(self) -> SnapshotChunk: ...

    def close(self) -> None: ...


class RowSource(Protocol):
    """A frozen view of a group's flushed rows, read some at a time, ascending."""

    state: TableState
    rows_about: int

    def seek(self, key: bytes) -> None:
        """Go on with the first row that is not before this key."""
        ...

    def next_rows(self, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """None behind the last."""
        ...

    def close(self) -> None: ...


class TableStore(Protocol):
    """The flushed tables of all groups of a node."""

    # Read by the core, between turns.

    def image(self, group: int) -> TableImage: ...

    def rows(self, group: int) -> FlushedRows:
        """The rows of the group's present generation, as of the last `refresh`."""
        ...

    def refresh(self) -> None:
        """Make what has been flushed or installed visible to `image` and `rows`."""
        ...

    # Carried out by the worker.

    def flush(self, flushes: Sequence[tuple[int, Flush]]) -> None:
        """Durable when it returns, all or nothing."""
        ...

    def open_snapshot(self, group: int) -> SnapshotSource: ...

    def stage(self, group: int, number: int, payload: bytes) -> None:
        """Keep a received chunk beside the group's table. Chunk 0 discards what was staged."""
        ...

    def install(self, group: int, state: TableState) -> None:
        """Put what was staged in the place of the group's table, in one step."""
        ...

    def discard(self, group: int) -> None:
        """Empty the group's table, in one step. The core no longer reads it."""
        ...

    def sweep(self) -> bool:
        """Delete some of what no group refers to; True if there is more."""
        ...
