"""Who waits for a group's table as it is at a revision.

The same revision of another replica holds the same: that is what can be compared, or backed up.

Invariant: of each revision one waits at most, and is told once, amid the turn that applies it.
"""

from collections.abc import Callable

from globaltable.table import Table
from globaltable.table_state import Frozen

Told = Callable[[Frozen | None], None]
"""None: the revision was passed over."""


class Freezing:
    """Of one replica's table."""

    def __init__(self) -> None:
        self._waiting: dict[int, Told] = {}

    def wait(self, table: Table, revision: int, then: Told) -> bool:
        """Tell `then` once the table is there; False, and nothing is told, if it is past it
        already, or if somebody waits for it."""
        if revision < table.applied or revision in self._waiting:
            return False
        if revision == table.applied:
            then(table.freeze())
        else:
            self._waiting[revision] = then
        return True

    def forget(self, revision: int) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(revision, None)

    def reached(self, table: Table) -> None:
        """The table has applied one more entry."""
        if self._waiting and (then := self._waiting.pop(table.applied, None)) is not None:
            then(table.freeze())

    def passed_over(self, applied: int) -> None:
        """A snapshot has taken the table beyond."""
        for revision in [one for one in self._waiting if one <= applied]:
            self._waiting.pop(revision)(None)
