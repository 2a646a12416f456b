"""What a turn of a node's replicas leads to, as values: see `core` for when it may happen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from globaltable.group import Changed, Ready
from globaltable.proposals import Proposal, Settled
from globaltable.raft.transfer import Job
from globaltable.store.log import LogWrite
from globaltable.table_state import Flush


class GroupJob(NamedTuple):
    """A job for the table's worker, on behalf of a group."""

    group: int
    job: Job


class FlushJob(NamedTuple):
    """Write what has changed in some groups to the table, in one transaction."""

    flushes: Sequence[tuple[int, Flush]]


@dataclass(slots=True)
class Effects:
    """What may happen, for all that it rests on is durable."""

    frames: list[tuple[str, bytes]] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    sealed: list[Proposal] = field(default_factory=list)
    """Batches that have begun their way into the log."""
    changed: list[tuple[int, Changed]] = field(default_factory=list)
    jumped: list[int] = field(default_factory=list)
    """Groups whose table was replaced by a snapshot: changes were skipped."""
    jobs: list[GroupJob | FlushJob] = field(default_factory=list)
    moved: list[tuple[int, Sequence[int]]] = field(default_factory=list)
    """Groups that came to hold more or less of some slots."""
    removed: list[int] = field(default_factory=list)
    """Groups that have removed their replica here: it may be discarded (`remove_replica`)."""


class Turn(NamedTuple):
    """`stepped` are all that were stepped; `persisting` those of them that wait for `writes`;
    `discards` are the writes for replicas that are no more."""

    effects: Effects
    stepped: Mapping[int, Ready]
    persisting: Mapping[int, Ready]
    discards: Sequence[LogWrite] = ()

    @property
    def writes(self) -> Sequence[LogWrite]:
        writes = [ready.write for ready in self.persisting.values() if ready.write is not None]
        return [*writes, *self.discards] if self.discards else writes


class ReplicaFailure(NamedTuple):
    group: int
    reason: str
