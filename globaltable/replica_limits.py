"""The bounds of one replica, and what keeps its log and its unflushed rows within them.

Invariant: the log is never cut beyond what the table has flushed.
"""

from dataclasses import dataclass

from globaltable.raft.journal import Journal


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """The bounds of one replica."""

    pending_ops: int = 16_384
    log_entries: int = 8_192
    log_bytes: int = 67_108_864
    """Beyond these the log is cut, as far as it is flushed and nobody needs it."""
    unflushed_rows: int = 1_048_576
    """Beyond this, or a log many times its bound, nothing more is taken until the disk of the table
    has caught up."""

    @property
    def log_entries_at_most(self) -> int:
        return 64 * self.log_entries

    @property
    def log_bytes_at_most(self) -> int:
        return 8 * self.log_bytes


class LogBounds:
    """The log of one replica against its limits."""

    def __init__(self, limits: ReplicaLimits, journal: Journal) -> None:
        self._limits = limits
        self._journal = journal

    def compact(self, flushed: int, oldest_transfer: int | None) -> None:
        """Bring a full log within its bounds, but what the table has not flushed, and what a
        follower needs behind a snapshot under way."""
        journal = self._journal
        keep = self._limits.log_entries // 2
        target = min(journal.last_index - keep, flushed)
        if journal.size_bytes > self._limits.log_bytes:
            target = flushed
        if oldest_transfer is not None and not self._is_overfull:
            # A transfer slow enough for that has been in vain; another one will have to follow.
            target = min(target, oldest_transfer)
        if target > journal.first_index:
            journal.compact_to(target)

    @property
    def is_full(self) -> bool:
        """It is longer than its bounds."""
        journal, limits = self._journal, self._limits
        return len(journal) > limits.log_entries or journal.size_bytes > limits.log_bytes

    @property
    def _is_overfull(self) -> bool:
        journal, limits = self._journal, self._limits
        return (
            len(journal) > limits.log_entries_at_most
            or journal.size_bytes > limits.log_bytes_at_most
        )

    def wants_flush(self, flushed: int) -> bool:
        """It cannot be compacted until the table is flushed."""
        return self.is_full and self._journal.first_index >= flushed

    def is_far_ahead_of_its_disk(self, unflushed_rows: int, applied: int, flushed: int) -> bool:
        """More has been applied and not been flushed than may be kept in memory. Nothing need be
        known or done for that to end but a flush, so to take nothing meanwhile is no deadlock."""
        return unflushed_rows > self._limits.unflushed_rows or (
            self._is_overfull and applied > flushed
        )
