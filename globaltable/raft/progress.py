"""Flow control towards one follower: what a leader has sent it that is not acknowledged yet.

Invariant: appends in flight are ordered by their last index, and `in_flight_bytes` is their sum.
What one follower does not acknowledge is bounded by `IN_FLIGHT_BYTES_MAX`, but for one append.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from globaltable.store.log import Entry

IN_FLIGHT_BYTES_MAX: Final = 16_777_216
_ENTRY_OVERHEAD_BYTES: Final = 32


def size_bytes(entries: Sequence[Entry]) -> int:
    """What entries take in a message, and about as much in memory."""
    return sum(len(entry.command) + _ENTRY_OVERHEAD_BYTES for entry in entries)


@dataclass(slots=True)
class Progress:
    """What is under way to one follower, in the present attempt (`Append.round`)."""

    round: int = 0
    in_flight: list[tuple[int, int]] = field(default_factory=list)
    """(last index, bytes) of each append with entries that is not acknowledged, oldest first."""
    in_flight_bytes: int = 0

    @property
    def last_sent(self) -> int:
        """The last entry in flight; 0 if there is none."""
        return self.in_flight[-1][0] if self.in_flight else 0

    def has_room_for(self, entries: Sequence[Entry]) -> bool:
        """An empty window takes an append of any size, so that none is held back for good."""
        if not self.in_flight:
            return True
        return self.in_flight_bytes + size_bytes(entries) <= IN_FLIGHT_BYTES_MAX

    def sent(self, entries: Sequence[Entry]) -> None:
        size = size_bytes(entries)
        self.in_flight.append((entries[-1].index, size))
        self.in_flight_bytes += size

    def acknowledged(self, index: int) -> None:
        done = 0
        for last, size in self.in_flight:
            if last > index:
                break
            self.in_flight_bytes -= size
            done += 1
        del self.in_flight[:done]

    def begin_round(self) -> None:
        """Of what was in flight no answer is awaited, and no rejection heeded."""
        self.round += 1
        self.in_flight.clear()
        self.in_flight_bytes = 0
