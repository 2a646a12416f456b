"""What the log stores: entries, term and vote of each group, as plain values."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One log entry, in the order of fields that PySyncObj uses."""

    command: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int


class HardState(NamedTuple):
    """What a replica must never forget (Raft §5.1, figure 2): its term, and its vote in it.

    And that it has forgotten: `rebuilding` is the mark of a replica whose log and table were
    discarded, and which is not yet whole again (`raft.recovery`). `joining` is that of one that did
    not found its group, and has not caught up with it since it came. They are one record with the
    other two, so that no write of one can lose another.
    """

    term: int
    voted_for: str | None
    rebuilding: bool = False
    joining: bool = False

    @property
    def marked(self) -> bool:
        """The log is not all that this replica has promised: it may be empty."""
        return self.rebuilding or self.joining


class LogImage(NamedTuple):
    """A group's log as found at start: contiguous entries, none if the group is new."""

    entries: tuple[Entry, ...] = ()
    hard_state: HardState = HardState(0, None)


class LogWrite(NamedTuple):
    """What one turn changed in a group's log, to be made durable as one.

    Applied in this order: entries with an index below `first` are dropped, entries from
    `truncate_from` on are dropped, `entries` are added.
    """

    group: int
    first: int | None
    truncate_from: int | None
    entries: tuple[Entry, ...]
    hard_state: HardState | None


class LogStore(Protocol):
    """Durable logs of all groups of a node."""

    def groups(self) -> list[int]:
        """Those of which anything is stored."""
        ...

    def load(self, group: int) -> LogImage:
        """Raises `Corrupt` if what is stored cannot be what was written."""
        ...

    def commit(self, writes: Sequence[LogWrite]) -> None:
        """Returns once all writes are durable; raises `StorageError` if they may not be."""
        ...
