"""What one group's log means, said a second time and naively: the judge of `globaltable.table`.

It remembers everything for ever: every batch, every op's first outcome, every version of every row.
Whether a step of a slot's move may be taken it has from production; whether that was right is seen
in what follows, over all groups together (`checks`).
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from globaltable import history
from globaltable.deal import EVERYTHING, Deal
from globaltable.errors import StepRefused
from globaltable.holdings import Holdings
from globaltable.model import Batch, Op, OpKind, OutcomeStatus
from globaltable.slot_rows import take_step
from globaltable.slot_steps import Step
from globaltable.topology import slot_of
from globaltable.wire.rows import decode_row, encode_row

SLOTS: Final = 16


class Told(NamedTuple):
    """An outcome, reduced to what a caller can rely on."""

    status: OutcomeStatus
    unit: str
    version: int


class Version(NamedTuple):
    revision: int
    unit: str | None
    version: int
    """0: the row has been deleted."""
    client_id: int = 0
    sequence: int = 0


class Record(NamedTuple):
    """A log entry that was applied somewhere, and what it led to."""

    command: bytes
    term: int
    batch_id: bytes
    told: tuple[Told, ...]
    new: tuple[tuple[Op, Told], ...]
    copied: tuple[tuple[int, int, Told], ...] = ()
    """Ops of another group that are remembered from here on."""


class Model:
    """One group."""

    def __init__(self, root: int, deal: Deal = EVERYTHING) -> None:
        self.root = root
        self.holdings = Holdings(deal, SLOTS)
        self._holdings_since = [(0, self.holdings)]
        self._remembered_at: dict[tuple[int, int], int] = {}
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
        if batch.step is not None and batch.as_of >= self._floor:
            self._take_step(command, term, batch.batch_id, batch.step)
            return
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
                elsewhere = self._why_not(op, batch.as_of)
                if elsewhere is not None:
                    told.append(elsewhere)
                    continue
                outcome = self._change(revision, op)
                self._remembered_at[identity] = revision
                self.first_outcome[identity] = outcome
                new.append((op, outcome))
            told.append(self.first_outcome[identity])
        if batch.step is not None:
            told.append(Told(OutcomeStatus.UNAVAILABLE, "", 0))
        if not stale:
            self._weigh(revision, len(new))
        self.records.append(Record(command, term, batch.batch_id, tuple(told), tuple(new)))

    def _weigh(self, revision: int, ops: int) -> None:
        self._weights.append((revision, max(1, ops)))
        while (
            sum(weight for _, weight in self._weights) > history.HISTORY_OPS_MAX
            and len(self._weights) > 1
        ):
            self._floor = self._weights.popleft()[0]

    # --- moves of slots --------------------------------------------------------------------------

    def _why_not(self, op: Op, as_of: int) -> Told | None:
        slot = slot_of(op.name, SLOTS)
        if not self.holdings.holds(slot):
            return Told(OutcomeStatus.ELSEWHERE, "", 0)
        if as_of < self.holdings.of(slot).revision:
            return Told(OutcomeStatus.UNAVAILABLE, "", 0)
        return None

    def _take_step(self, command: bytes, term: int, batch_id: bytes, step: Step) -> None:
        self._present = revision = self.last + 1
        status, copied = OutcomeStatus.APPLIED, []
        try:
            taken = take_step(step, self.holdings.of(step.slot), revision, SLOTS, self)
        except StepRefused:
            status = OutcomeStatus.INVALID_ARGUMENT
        else:
            self.holdings = self.holdings.changed(step.slot, taken.holding, self._floor)
            self._holdings_since.append((revision, self.holdings))
            for op in taken.ops:
                identity = (op.client_id, op.sequence)
                if self._remembered_at.get(identity, 0) <= self._floor:
                    outcome = Told(op.status, op.unit if op.version else "", op.version)
                    self.first_outcome.setdefault(identity, outcome)
                    self._remembered_at[identity] = revision
                    copied.append((*identity, outcome))
        self._weigh(revision, len(copied))
        told = (Told(status, "", 0),)
        self.records.append(Record(command, term, batch_id, told, (), tuple(copied)))

    def row(self, name: bytes) -> bytes | None:
        versions = self.versions.get(name)
        if not versions or not versions[-1].version:
            return None
        revision, unit, version, client_id, sequence = versions[-1]
        return encode_row((unit, version, revision, client_id, sequence))

    def put_row(self, name: bytes, data: bytes) -> None:
        row = decode_row(data)
        version = Version(self._present, row.unit, row.version, row.client_id, row.sequence)
        self.versions.setdefault(name, []).append(version)

    def delete_row(self, name: bytes) -> None:
        self.versions[name].append(Version(self._present, None, 0))

    def rows_of_slot(self, slot: int, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for name in sorted(self.versions):
            row = self.row(name)
            if slot_of(name, SLOTS) == slot and name > after and row is not None:
                yield name, row

    # --- ops -------------------------------------------------------------------------------------

    def _import(self, revision: int, op: Op) -> Told:
        versions = self.versions.setdefault(op.name, [])
        if not versions:
            made = Version(revision, op.unit or None, op.version, op.client_id, op.sequence)
            versions.append(made)
            return Told(OutcomeStatus.APPLIED, op.unit, op.version)
        _, unit, version, *_ = versions[-1]
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
        versions.append(Version(revision, new_unit, version + 1, op.client_id, op.sequence))
        self.applied_at[op.client_id, op.sequence] = revision
        return Told(OutcomeStatus.APPLIED, told, version + 1)

    def bindings_at(self, revision: int) -> dict[bytes, tuple[str, int, int]]:
        """Every bound name at a revision, of slots held then: unit, version, revision."""
        found = {}
        held = [holdings for since, holdings in self._holdings_since if since <= revision][-1]
        for name, versions in self.versions.items():
            if not held.holds(slot_of(name, SLOTS)):
                continue
            past = [version for version in versions if version.revision <= revision]
            if past and past[-1].unit is not None:
                found[name] = (past[-1].unit, past[-1].version, past[-1].revision)
        return found
