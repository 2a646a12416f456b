"""The changes that one who watches is shown: the newest of them, as many as can be read.

A busy table changes more often than anybody reads. What comes faster is counted and not shown;
nobody waits for it. Pure.

Invariant: at most `CHANGES_MAX` wait.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from globaltable.v1 import globaltable_pb2 as pb

CHANGES_MAX: Final = 100
"""For each time that they are sent on, a few times a second."""

_KINDS: Final = {
    pb.CHANGE_KIND_BOUND: "bound",
    pb.CHANGE_KIND_MOVED: "moved",
    pb.CHANGE_KIND_UNBOUND: "unbound",
}


def change_shown(change: pb.Change) -> dict[str, Any]:
    return {
        "kind": _KINDS[change.kind],
        "key": change.key,
        "unit": change.unit,
        "version": change.version,
        "revision": change.revision,
        "group": change.group,
    }


class Waiting:
    """What is to be sent on next."""

    def __init__(self) -> None:
        self._changes: deque[pb.Change] = deque(maxlen=CHANGES_MAX)
        self._left_out = 0
        self._gap = ""

    def add(self, changes: Iterable[pb.Change]) -> None:
        for change in changes:
            if len(self._changes) == CHANGES_MAX:
                self._left_out += 1
            self._changes.append(change)

    def miss(self, why: str) -> None:
        """Some were not told of, nobody knows how many."""
        self._gap = why

    def take(self) -> dict[str, Any] | None:
        """All of it, the oldest first; None if there is nothing."""
        if not self._changes and not self._gap:
            return None
        taken = {
            "changes": [change_shown(change) for change in self._changes],
            "left_out": self._left_out,
            "gap": self._gap,
        }
        self._changes.clear()
        self._left_out, self._gap = 0, ""
        return taken
