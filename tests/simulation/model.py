"""What one group's log means, said a second time and naively: the judge of `globaltable.table`.

It remembers everything for ever: every batch, every op's first outcome, every version of every row.
"""

from collections import deque
from typing import Final, NamedTuple

from globaltable import history
from globaltable.model import Batch, Op, OpKind, OutcomeStatus

STALE: Final = "stale"


class Told(NamedTuple):
    """An outcome, reduced to what a caller can rely on."""

    status: OutcomeStatus
    unit: str
    version: int


class Version(NamedTuple):
    revision: int
    unit: str | None
    version: int


class Record(NamedTuple):
    """A log entry that was applied somewhere, and what it led to."""

    command: bytes
    term: int
    batch_id: bytes
    told: tuple[Told, ...]
    new: tuple[tuple[Op, Told], ...]


class Model:
    """One group."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.records: list[Record] = []
        self.versions: dict[bytes, list[Version]] = {}
        self.first_outcome: dict[tuple[int, int], Told] = {}
        self.applied_at: dict[tuple[int, int], int] = {}
        self._floor = root
        self._weights: deque[tuple[int, int]] = deque()

    @property
    def floor(self) -> int:
        """Ops at or before this revision are forgotten."""
        return self._floor

    @property
    def last(self) -> int:
        return self.root + len(self.records)

    def record(self, revision: int) -> Record:
        return self.records[revision - self.root - 1]

    def pass_over(self, command: bytes, term: int) -> None:
        """An entry without a batch."""
        self.records.append(Record(command, term, b"", (), ()))

    def apply(self, command: bytes, term: int, batch: Batch) -> None:
        revision = self.last + 1
        told: list[Told] = []
        new: list[tuple[Op, Told]] = []
        stale = batch.as_of < self._floor
        imported = {
            at: self._import(revision, op)
            for at, op in enumerate(batch.ops)
            if op.kind is OpKind.IMPORT and not stale
        }
        for at, op in enumerate(batch.ops):
            identity = (op.client_id, op.sequence)
            if stale:
                told.append(Told(OutcomeStatus.UNAVAILABLE, "", 0))
                continue
            if at in imported:
                told.append(imported[at])
                continue
            if identity not in self.first_outcome:
                outcome = self._change(revision, op)
                self.first_outcome[identity] = outcome
                new.append((op, outcome))
            told.append(self.first_outcome[identity])
        if not stale:
            self._weights.append((revision, max(1, len(new))))
            while (
                sum(weight for _, weight in self._weights) > history.HISTORY_OPS_MAX
                and len(self._weights) > 1
            ):
                self._floor = self._weights.popleft()[0]
        self.records.append(Record(command, term, batch.batch_id, tuple(told), tuple(new)))

    def _import(self, revision: int, op: Op) -> Told:
        versions = self.versions.setdefault(op.name, [])
        if not versions:
            versions.append(Version(revision, op.unit or None, op.version))
            return Told(OutcomeStatus.APPLIED, op.unit, op.version)
        _, unit, version = versions[-1]
        same = (unit, version) == (op.unit or None, op.version)
        status = OutcomeStatus.EXISTS if same else OutcomeStatus.VERSION_CONFLICT
        return Told(status, unit or "", version)

    def _change(self, revision: int, op: Op) -> Told:
        versions = self.versions.setdefault(op.name, [])
        unit, version = (versions[-1].unit, versions[-1].version) if versions else (None, 0)
        if op.kind is OpKind.BIND:
            if unit is not None:
                return Told(OutcomeStatus.EXISTS, unit, version)
            new_unit: str | None = op.unit
            told = op.unit
        else:
            if unit is None:
                return Told(OutcomeStatus.NOT_BOUND, "", 0)
            if version != op.version:
                return Told(OutcomeStatus.VERSION_CONFLICT, unit, version)
            new_unit, told = (op.unit, op.unit) if op.kind is OpKind.MOVE else (None, unit)
        versions.append(Version(revision, new_unit, version + 1))
        self.applied_at[op.client_id, op.sequence] = revision
        return Told(OutcomeStatus.APPLIED, told, version + 1)

    def bindings_at(self, revision: int) -> dict[bytes, tuple[str, int, int]]:
        """Every bound name at a revision: unit, version, revision."""
        found = {}
        for name, versions in self.versions.items():
            past = [version for version in versions if version.revision <= revision]
            if past and past[-1].unit is not None:
                found[name] = (past[-1].unit, past[-1].version, past[-1].revision)
        return found
