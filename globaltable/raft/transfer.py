"""Snapshots between replicas, chunk by chunk: who waits for what, without a byte of disk.

The sender keeps at most `WINDOW` chunks unacknowledged; the receiver keeps none in memory: each
goes to its disk and is acknowledged from there. The reads and writes themselves are `jobs`, carried
out by whoever drives the replica, whose results come back as inputs.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from globaltable.store.table import SnapshotChunk
from globaltable.table_state import TableState

WINDOW: Final = 4
GIVE_UP: Final = -1


class ReadChunk(NamedTuple):
    """Read the next chunk of a snapshot for `peer`; the first read of a transfer opens it."""

    peer: str
    transfer: int


class EndRead(NamedTuple):
    """No more will be read of this transfer."""

    peer: str
    transfer: int


class StageChunk(NamedTuple):
    """Keep a chunk received from `sender` beside the table."""

    sender: str
    transfer: int
    number: int
    payload: bytes


class InstallSnapshot(NamedTuple):
    """Put what was staged in the place of the table."""

    sender: str
    transfer: int
    state: TableState


class DiscardTable(NamedTuple):
    """Empty the table of a replica that is no more."""


Job = ReadChunk | EndRead | StageChunk | InstallSnapshot | DiscardTable


@dataclass(slots=True)
class Outgoing:
    """A leader's view of one transfer."""

    transfer: int
    progress_at: float
    state: TableState | None = None
    sent: int = 0
    acknowledged: int = 0
    reading: bool = False
    read_all: bool = False

    @property
    def wants_chunk(self) -> bool:
        return not self.reading and not self.read_all and self.sent - self.acknowledged < WINDOW

    def chunk_read(self, state: TableState, chunk: SnapshotChunk) -> int:
        """Note a chunk that is about to be sent; returns its number."""
        assert self.reading and (self.state is None or self.state == state)
        self.state = state
        self.reading = False
        self.read_all = chunk.last
        self.sent += 1
        return self.sent - 1

    @property
    def finished(self) -> bool:
        """The receiver has installed it: the last chunk is acknowledged only then."""
        return self.read_all and self.acknowledged == self.sent


@dataclass(slots=True)
class Incoming:
    """A follower's view of one transfer."""

    term: int
    sender: str
    transfer: int
    state: TableState
    received: int = 0
    last_received: bool = False
    installing: bool = False
