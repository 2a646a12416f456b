"""The log of one group in memory, which notes what a turn changed, to be persisted.

PySyncObj works on it as on a list of entries. It holds the window of the log that is kept for
followers that lag; older entries live on in the table.

Invariants: entries are contiguous and there is always at least one, the base; the log never
shrinks below the commit index (a breach is fatal to the replica: acknowledged entries would go).
`members` is the latest configuration in the log, whether it is committed or not (Raft thesis §4.1);
where the log is truncated, what stood before it is in force again.
"""

from globaltable.errors import Corrupt, GlobalTableError
from globaltable.members import Members
from globaltable.store.log import Entry, HardState, LogImage, LogWrite
from globaltable.store.table import ROOT_STATE
from globaltable.wire.members import decode_members, encode_members

NO_OP = b"\x01"
"""PySyncObj's command for an entry without content (a new leader's first entry)."""


MEMBERS = b"\x04"
"""Begins a command that holds the members of the group. The library's own command for a change of
membership, 2, holds a pickle; it is admitted to no log."""


def is_members(command: bytes) -> bool:
    return command[:1] == MEMBERS


def members_command(members: Members) -> bytes:
    return MEMBERS + encode_members(members)


def members_in(command: bytes) -> Members:
    return decode_members(command[1:])


def founders_in(image: LogImage) -> Members | None:
    """The members as of a log's base, if it says so: it does until it is cut for the first time."""
    base = image.entries[0] if image.entries else None
    return members_in(base.command) if base is not None and is_members(base.command) else None


def is_no_op(command: bytes) -> bool:
    """Whether an entry is a new leader's first, which holds no batch."""
    return command == NO_OP


class InvariantViolated(GlobalTableError):
    """What Raft rules out has happened. The replica stops rather than serve what may be wrong."""


class Journal(list[Entry]):
    """PySyncObj's journal protocol over a list, with the changes noted for `take_write`."""

    def __init__(
        self,
        group: int,
        image: LogImage,
        applied: int,
        applied_term: int,
        members: Members | None = None,
        *,
        joins: bool = False,
    ) -> None:
        """`members` are those as of `applied`; `joins`: a new log is one of a replica that joins
        its group (`recovery`)."""
        super().__init__(image.entries)
        self._group = group
        self._hard_state = image.hard_state
        # A new log's base and its term are written together: one without the other is damage.
        self._hard_state_changed = not image.entries
        if joins and not image.entries:
            self._hard_state = self._hard_state._replace(joining=True)
        self._commit_index = applied
        self._bytes = sum(len(entry.command) for entry in self)
        # On disk: entries [_disk_first, _disk_last]. Changed in memory: those from _dirty_from.
        self._disk_first = self[0].index if self else 0
        self._disk_last = self[-1].index if self else -1
        self._dirty_from: int | None = None
        self._durable = self._being_written = self._disk_last
        self._configurations = [(applied, members)]
        """Where each stands in the log, ascending. The first is what is known as of its index; all
        but those that are or may come into force again are dropped."""
        self._check_base(image, applied, applied_term)
        for entry in self:
            if entry.index > applied and is_members(entry.command):
                self._configurations.append((entry.index, members_in(entry.command)))

    def _check_base(self, image: LogImage, applied: int, applied_term: int) -> None:
        """The table may be ahead of the log by a snapshot that was installed right before a crash.

        Then the log is void: all of it is older than what the table holds, or conflicts with it.
        But there is one: a table that has been written beside a log that never was has lost it, and
        with it the replica's vote (`recovery`).
        """
        if not self and applied > ROOT_STATE.applied and not image.hard_state.marked:
            raise Corrupt(
                f"group {self._group}: the table is at {applied} but there is no log; it is lost, "
                "and what this replica has promised with it"
            )
        if self and self.first_index <= applied <= self.last_index:
            if self.term_at(applied) == applied_term:
                return
        elif self and self.first_index > applied:
            raise Corrupt(
                f"group {self._group}: the log begins at {self.first_index} but the table ends at "
                f"{applied}; entries between are missing"
            )
        self.reset(applied, applied_term)

    # --- what the guard asks ---------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        return self[0].index

    @property
    def last_index(self) -> int:
        return self[-1].index

    @property
    def last_term(self) -> int:
        return self[-1].term

    @property
    def size_bytes(self) -> int:
        """Of all commands held."""
        return self._bytes

    @property
    def commit_index(self) -> int:
        return self._commit_index

    @property
    def hard_state(self) -> HardState:
        """Term, vote and marks, as they are or are about to be on the disk."""
        return self._hard_state

    @property
    def rebuilding(self) -> bool:
        """The mark of a replica that lost what it had persisted (`recovery`)."""
        return self._hard_state.rebuilding

    @property
    def joining(self) -> bool:
        """The mark of a replica that has not caught up with its group since it came to it."""
        return self._hard_state.joining

    def set_marks(self, *, rebuilding: bool, joining: bool) -> None:
        """Durable before anything leaves that says so. Without marks the replica is whole."""
        self._hard_state = self._hard_state._replace(rebuilding=rebuilding, joining=joining)
        self._hard_state_changed = True

    @property
    def members(self) -> Members | None:
        """In force: the latest configuration in the log. None if none is known yet."""
        return self._configurations[-1][1]

    @property
    def members_index(self) -> int:
        """Where it stands, or as of where it is known."""
        return self._configurations[-1][0]

    def members_at(self, index: int) -> Members | None:
        """The latest configuration at or below an index that is held, or else the first known."""
        for at, members in reversed(self._configurations):
            if at <= index:
                return members
        return self._configurations[0][1]

    def members_since(self, index: int) -> list[Members]:
        """The configuration at an index, and all that follow it."""
        later = [members for at, members in self._configurations if at > index]
        return [m for m in (self.members_at(index), *later) if m is not None]

    @property
    def durable_index(self) -> int:
        """Entries up to here are on the disk."""
        return self._durable

    def holds(self, index: int) -> bool:
        return self.first_index <= index <= self.last_index

    def term_at(self, index: int) -> int:
        """The term of an entry that is held."""
        return self[index - self.first_index].term

    def slice(self, first: int, last: int) -> list[Entry]:
        """Entries `first` to `last`, both included and both held."""
        base = self.first_index
        return self[first - base : last - base + 1]

    def reset(self, index: int, term: int, members: Members | None = None) -> None:
        """Begin anew after an installed snapshot that ends at `index`, with the members then."""
        super().clear()
        known = self._configurations[-1][1] if members is None else members
        self._configurations = [(index, known)]
        self._bytes = 0
        # Who founds a group stands in no entry but this one, which is never sent.
        self._append(Entry(NO_OP if known is None else members_command(known), index, term))
        self._dirty_from = 0
        self._commit_index = max(self._commit_index, index)
        # What the base stands for is durable in the table.
        self._durable = self._being_written = index

    def compact_to(self, index: int) -> None:
        """Drop entries below `index`, which must be committed and held."""
        assert self.first_index <= index <= self._commit_index, (index, self._commit_index)
        self.deleteEntriesTo(index - self.first_index)

    def take_write(self) -> LogWrite | None:
        """What must be made durable before anything of this turn leaves the node."""
        first = self.first_index if self.first_index > self._disk_first else None
        dirty = self._dirty_from
        truncate_from = None
        entries: tuple[Entry, ...] = ()
        if dirty is not None:
            start = max(dirty, self.first_index)
            entries = tuple(self.slice(start, self.last_index))
            if dirty <= self._disk_last:
                truncate_from = dirty
        hard_state = self._hard_state if self._hard_state_changed else None
        if first is None and dirty is None and hard_state is None:
            return None
        self._disk_first, self._disk_last = self.first_index, self.last_index
        self._being_written = self.last_index
        self._dirty_from = None
        self._hard_state_changed = False
        return LogWrite(self._group, first, truncate_from, entries, hard_state)

    def require_persisted(self) -> None:
        """Refuse to go on before the write that was taken last is durable.

        A leader counts itself as one that holds its log (Raft thesis §10.2.1).
        """
        if self._durable != self._being_written:
            raise InvariantViolated(
                f"group {self._group}: a step before entries {self._durable + 1} to "
                f"{self._being_written} were durable"
            )

    def persisted(self) -> None:
        """The write that was taken last is durable."""
        self._durable = self._being_written

    # --- PySyncObj's journal protocol ------------------------------------------------------------

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._append(Entry(command, idx, term))

    def _append(self, entry: Entry) -> None:
        if self and entry.index != self.last_index + 1:
            raise InvariantViolated(
                f"group {self._group}: entry {entry.index} appended after {self.last_index}"
            )
        self.append(entry)
        self._bytes += len(entry.command)
        if self._dirty_from is None:
            self._dirty_from = entry.index
        if entry.command[:1] == MEMBERS and entry.index > self._configurations[-1][0]:
            self._change_members(entry)

    def _change_members(self, entry: Entry) -> None:
        # What is committed never gives way, so of what came before it nothing is needed.
        committed = [at for at, _ in self._configurations if at <= self._commit_index]
        del self._configurations[: max(0, len(committed) - 1)]
        self._configurations.append((entry.index, members_in(entry.command)))

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 - PySyncObj's names
        index = self.first_index + entryFrom
        if index <= self._commit_index:
            raise InvariantViolated(
                f"group {self._group}: entries from {index} on were to be deleted, but entries up "
                f"to {self._commit_index} are committed"
            )
        self._bytes -= sum(len(entry.command) for entry in self[entryFrom:])
        del self[entryFrom:]
        while self._configurations[-1][0] >= index:
            del self._configurations[-1]
        self._durable = min(self._durable, index - 1)
        self._being_written = min(self._being_written, index - 1)
        self._dirty_from = index if self._dirty_from is None else min(self._dirty_from, index)

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803 - PySyncObj's names
        self._bytes -= sum(len(entry.command) for entry in self[:entryTo])
        del self[:entryTo]

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        if raftCommitIndex < self._commit_index:
            raise InvariantViolated(
                f"group {self._group}: the commit index was to fall from {self._commit_index} to "
                f"{raftCommitIndex}"
            )
        self._commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self._commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        state = self._hard_state._replace(term=term, voted_for=votedForNodeId)
        if term < self._hard_state.term:
            raise InvariantViolated(f"group {self._group}: term fell to {state} from {term}")
        if state != self._hard_state:
            self._hard_state = state
            self._hard_state_changed = True

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self._hard_state.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        return self._hard_state.voted_for

    def onOneSecondTimer(self) -> None:  # noqa: N802
        pass

    def _destroy(self) -> None:
        pass
