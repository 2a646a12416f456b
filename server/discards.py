"""Replicas that are no more: what is left of their logs, and what is yet to be discarded of them.

Invariants: the log is discarded first, in the write that marks it, and then the table, which is
void by that mark; a replica of the group is added again only when both are gone. The mark outlives
them: that the replica joins if it ever comes again, and in which term it voted.
"""

from collections.abc import Sequence

from globaltable.store.log import HardState, LogImage, LogWrite
from globaltable.topology import Group


class Discards:
    """Of one node."""

    def __init__(self) -> None:
        self._left: dict[int, LogImage] = {}
        """By group: of the logs of replicas that are no more."""
        self._writes: list[LogWrite] = []
        self._under_way: dict[int, Group | None] = {}
        """Groups whose table is being discarded, and what to add once it is."""

    def begin(self, number: int, state: HardState) -> None:
        """Discard a group's log and table, and keep the mark."""
        self._left[number] = LogImage((), state)
        self._writes.append(LogWrite(number, None, 0, (), state))
        self._under_way[number] = None

    def wait(self, group: Group) -> bool:
        """Whether a replica of the group is being discarded; if so it is to be added behind that
        (`end` says so)."""
        if group.number not in self._under_way:
            return False
        self._under_way[group.number] = group
        return True

    def take_left(self, number: int) -> LogImage | None:
        """What is left of an earlier replica's log; None if there was none."""
        return self._left.pop(number, None)

    def take_writes(self) -> Sequence[LogWrite]:
        writes, self._writes = self._writes, []
        return writes

    def end(self, number: int) -> Group | None:
        """The table is discarded; the group to be added now, if it is one."""
        return self._under_way.pop(number)

    @property
    def has_writes(self) -> bool:
        return bool(self._writes)

    @property
    def is_under_way(self) -> bool:
        """A log or a table is yet to be discarded."""
        return bool(self._under_way)
