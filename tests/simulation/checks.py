"""What must hold at every step, whatever is done to the nodes.

* Election safety (Raft §5.2): at most one leader in a term.
* Log matching (§5.3): entries with the same index and term are the same, with all before them.
* Leader completeness (§5.4): a leader's log holds everything that was ever applied.
* State machine safety (§5.4.3): every replica, in all its lives, applies the same entry at a
  revision.
* The table is what the log means (`model`), on every replica, also after a snapshot.
* Commit and applied index never fall within a life.
* An outcome that is told is the op's first outcome in the log; an op that is told not to have
  happened does not happen; a ticket ends once; an op takes effect once.
* Of each key there is one version after the other, over all groups together: none is made twice,
  or left out, and what binds a key found it not bound. Acknowledged are only these.
* A reader behind a barrier sees all that was acknowledged before, wherever it was by then.
* Changes of a group come in order and without gaps.
* Committed configurations follow each other in single steps.
* Queues stay within their bounds, and no replica stops itself.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from globaltable.deal import EVERYTHING, Deal
from globaltable.errors import Corrupt, StorageError
from globaltable.group import Changed, Ready, Replica
from globaltable.holdings import Holding, HoldingState
from globaltable.members import Members
from globaltable.model import Binding, Op, OpKind, Outcome, OutcomeStatus
from globaltable.raft.adaptor import Role
from globaltable.raft.guard import Guard
from globaltable.raft.journal import is_members, is_no_op, members_in
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.core import NodeCore
from globaltable.server.effects import Effects, Turn
from globaltable.store.table import ROOT_STATE
from globaltable.wire.batches import decode_batch
from globaltable.wire.rows import HistoryRow, decode_history
from tests.simulation.model import Model, Told

MESSAGES_A_TURN_MAX: Final = 400
LOG_ENTRIES_SLACK: Final = 1_000
_SOME_TERM: Final = 2**62
"""Where it is not known by which term an entry was committed."""
NOT_HAPPENED: Final = (
    OutcomeStatus.UNAVAILABLE,
    OutcomeStatus.OVERLOADED,
    OutcomeStatus.ELSEWHERE,
)
DEFINITE: Final = (
    OutcomeStatus.APPLIED,
    OutcomeStatus.EXISTS,
    OutcomeStatus.VERSION_CONFLICT,
    OutcomeStatus.NOT_BOUND,
)


class Violation(AssertionError):
    """Something that must hold does not."""


def require(holds: bool, what: str, *details: object) -> None:
    if not holds:
        raise Violation(" ".join([what, *map(str, details)]))


@dataclass(slots=True)
class _Life:
    """What one replica has shown since its node started."""

    commit_index: int = 0
    applied: int = 0
    changed: int = 0
    """The last revision a watcher of this node has been told of."""


@dataclass(slots=True)
class _OpFate:
    attempts: int = 0
    not_happened: int = 0


@dataclass(slots=True)
class Checks:
    limits: ReplicaLimits
    deals: dict[int, Deal] = field(default_factory=dict)
    """By group; one that is not named holds all slots."""
    models: dict[int, Model] = field(default_factory=dict)
    members: dict[int, Members] = field(default_factory=dict)
    """By group, the latest that were committed."""
    acknowledged: dict[int, int] = field(default_factory=dict)
    """By group, the highest revision that a caller has been told of."""
    acknowledged_version: dict[bytes, int] = field(default_factory=dict)
    """By name, the highest version that a caller has been told of."""
    ledger: dict[bytes, tuple[int, str | None]] = field(default_factory=dict)
    """By name, the last version that was made anywhere, and its unit."""
    damaged: set[tuple[str, int]] = field(default_factory=set)
    """Replicas whose records the schedule has damaged, until they are discarded: they alone may
    stop themselves, and for no other reason."""
    told: int = 0
    changes: int = 0
    installs: int = 0
    elections: int = 0
    member_changes: int = 0
    adoptions: int = 0
    """Of slots, by other groups."""
    reclaims: int = 0
    """Of slots that were released in vain."""
    _leaders: dict[tuple[int, int], str] = field(default_factory=dict)
    _committed_by: dict[tuple[int, int], int] = field(default_factory=dict)
    """By group and revision, a term by which it was committed: that of who first applied it."""
    _entries: dict[tuple[int, int, int], tuple[bytes, int]] = field(default_factory=dict)
    _lives: dict[tuple[str, int], _Life] = field(default_factory=dict)
    _fates: dict[tuple[int, int], _OpFate] = field(default_factory=dict)
    _ended: set[Any] = field(default_factory=set)
    _made_by: dict[tuple[int, int], int] = field(default_factory=dict)

    def model(self, group: int) -> Model:
        if group not in self.models:
            self.models[group] = Model(ROOT_STATE.applied, self.deals.get(group, EVERYTHING))
        return self.models[group]

    # --- at every turn ---------------------------------------------------------------------------

    def started(self, node: str, core: NodeCore) -> None:
        self._require_service(node, core)
        for number, replica in list(core.replicas.items()):
            state = replica.table
            self._lives[node, number] = _Life(replica.guard.commit_index, state.applied)
            self._lives[node, number].changed = state.applied
            self._log_matching(node, number, replica, replica.guard.journal)
            try:
                self._same_bindings(node, number, replica)
            except StorageError as error:
                core.fail(number, error)

    def _require_service(self, node: str, core: NodeCore) -> None:
        for group, reason in core.failures.items():
            if (node, group) not in self.damaged or not reason.startswith(Corrupt.__name__):
                raise Violation(f"{node} stopped its replica of group {group}: {reason}")

    def begun(self, node: str, core: NodeCore, turn: Turn) -> None:
        """A turn has stepped; what needed nothing to be persisted has taken effect."""
        self._require_service(node, core)
        if not (turn.stepped or turn.effects.changed or turn.effects.jumped):
            return
        self._stopped_amid(node, core, turn.stepped.items())
        stepped = {n: ready for n, ready in turn.stepped.items() if n in core.replicas}
        at_once = {n: ready for n, ready in stepped.items() if n not in turn.persisting}
        jumped = [number for number in turn.effects.jumped if number in core.replicas]
        for number in jumped:
            applied = at_once[number].committed if number in at_once else ()
            last = applied[0].index - 1 if applied else core.replicas[number].table.applied
            self._installed(node, number, core.replicas[number], last)
        for number, ready in stepped.items():
            self._stepped(node, number, core.replicas[number], ready)
        self._took_effect(node, core, at_once.items(), turn.effects)
        for number in jumped:
            self._same_bindings(node, number, core.replicas[number])

    def completed(self, node: str, core: NodeCore, turns: Sequence[Turn], effects: Effects) -> None:
        """Turns have become durable, and taken effect."""
        self._require_service(node, core)
        for turn in turns:
            self._stopped_amid(node, core, turn.persisting.items())
        readies = [
            (number, ready)
            for turn in turns
            for number, ready in turn.persisting.items()
            if number in core.replicas
        ]
        self._took_effect(node, core, readies, effects)

    def _stopped_amid(
        self, node: str, core: NodeCore, readies: Iterable[tuple[int, Ready]]
    ) -> None:
        """A replica that stops as it applies what is committed may have told of some of it."""
        for number, ready in readies:
            if number not in core.replicas:
                for command, revision, term in ready.committed:
                    self._applied(node, number, _SOME_TERM, revision, command, term)

    def _stepped(self, node: str, number: int, replica: Replica, ready: Ready) -> None:
        guard, life = replica.guard, self._lives[node, number]
        if guard.role is Role.LEADER:
            self._leader(node, number, replica)
        sent, pending, length = len(ready.messages), replica.pending_ops, len(guard.journal)
        if sent > MESSAGES_A_TURN_MAX:
            raise Violation(f"{node} sends {sent} messages of group {number} in one turn")
        if pending > self.limits.pending_ops:
            raise Violation(f"{node} queues {pending} ops of group {number}")
        if length > self.limits.log_entries + LOG_ENTRIES_SLACK:
            raise Violation(f"{node} keeps a log of {length} entries of group {number}")
        if guard.commit_index < life.commit_index:
            raise Violation(
                f"{node} group {number}: the commit index fell from {life.commit_index} to "
                f"{guard.commit_index}"
            )
        life.commit_index = guard.commit_index
        if ready.write is not None:
            self._log_matching(node, number, replica, ready.write.entries)

    def _took_effect(
        self,
        node: str,
        core: NodeCore,
        readies: Iterable[tuple[int, Ready]],
        effects: Effects,
    ) -> None:
        changes = deque(effects.changed)
        for number, ready in readies:
            if not ready.committed:
                continue
            life = self._lives[node, number]
            by_term = core.replicas[number].guard.term
            for command, revision, term in ready.committed:
                if revision != life.applied + 1:
                    raise Violation(
                        f"{node} group {number}: revision {revision} is applied after "
                        f"{life.applied}"
                    )
                life.applied = revision
                if self._applied(node, number, by_term, revision, command, term):
                    if not changes:
                        raise Violation(f"{node}: revision {revision} of {number} has no change")
                    of_group, changed = changes.popleft()
                    self._changed(node, number, of_group, changed, revision, self.model(number))
                    life.changed = revision
        if changes:
            raise Violation(f"{node} tells of changes that were not applied: {changes}")

    def _installed(self, node: str, group: int, replica: Replica, last: int) -> None:
        """A snapshot that ends at revision `last` has taken the table's place."""
        self.installs += 1
        life = self._lives[node, group]
        require(
            last >= life.applied,
            f"{node} group {group}: a snapshot turned the table back from {life.applied} to",
            last,
        )
        life.applied = last
        # What a watcher would do: read on from the history, or be told that it is gone.
        history, model = replica.table.history, self.model(group)
        if life.changed >= history.floor:
            for record in history.records_after(life.changed):
                if record.revision <= last:
                    rows = decode_history(record.data)
                    self._same_rows(node, group, record.revision, rows, model, copied=True)
        life.changed = last

    # --- the log ---------------------------------------------------------------------------------

    def _leader(self, node: str, group: int, replica: Replica) -> None:
        guard = replica.guard
        known = self._leaders.get((group, guard.term))
        if known is None:
            self._leaders[group, guard.term] = node
            self.elections += 1
            self._complete(node, group, guard)
        else:
            require(known == node, f"{known} and {node} lead group {group} in term", guard.term)

    def _complete(self, node: str, group: int, guard: Guard) -> None:
        """A leader holds what was committed in earlier terms. What later ones have committed it
        need not: it may learn of its votes long after others have gone on without it."""
        model, journal = self.model(group), guard.journal
        revision = model.last
        while revision > model.root and self._committed_by[group, revision] >= guard.term:
            revision -= 1
        if revision == model.root or journal.first_index > revision:
            return
        held = journal.holds(revision) and journal.term_at(revision) == model.record(revision).term
        if not held:
            raise Violation(
                f"{node} leads group {group} in term {guard.term} without revision {revision}"
            )

    def _log_matching(self, node: str, group: int, replica: Replica, entries: Any) -> None:
        journal = replica.guard.journal
        for command, index, term in entries:
            if index == journal.first_index:
                # The base: it stands for what a snapshot holds, and is never read or sent.
                continue
            before = journal.term_at(index - 1) if journal.holds(index - 1) else -1
            known = self._entries.setdefault((group, index, term), (command, before))
            if known[0] != command or (before != -1 and known[1] not in (-1, before)):
                raise Violation(
                    f"{node} group {group}: entry {index} of term {term} is not the same everywhere"
                )

    def _applied(
        self, node: str, group: int, by_term: int, revision: int, command: bytes, term: int
    ) -> bytes:
        model = self.model(group)
        if revision == model.last + 1:
            self._committed_by[group, revision] = by_term
            if is_no_op(command) or is_members(command):
                model.pass_over(command, term)
                if is_members(command):
                    self._members_changed(node, group, members_in(command))
            else:
                batch = decode_batch(command[1:])
                before = model.holdings
                model.apply(command, term, batch)
                if model.holdings is not before and batch.step is not None:
                    self._moved(before.of(batch.step.slot), model.holdings.of(batch.step.slot))
                self._made(group, model.record(revision).new)
        record = model.record(revision)
        if (record.command, record.term) != (command, term):
            raise Violation(
                f"{node} group {group}: revision {revision} is another entry than elsewhere: term "
                f"{term}, not {record.term}"
            )
        return record.batch_id

    def _moved(self, before: Holding, after: Holding) -> None:
        if HoldingState.HELD is after.state is not before.state:
            self.adoptions += after.adopted == after.hop
            self.reclaims += after.adopted != after.hop

    def _made(self, group: int, new: Sequence[tuple[Op, Told]]) -> None:
        """Changes, as they are applied for the first time anywhere."""
        for op, told in new:
            if told.status is not OutcomeStatus.APPLIED:
                continue
            version, unit = self.ledger.get(op.name, (0, None))
            right = told.version == version + 1 and (unit is None) == (op.kind is OpKind.BIND)
            require(
                right, f"group {group} makes {told} of {op}; last was version {version} in", unit
            )
            self.ledger[op.name] = told.version, None if op.kind is OpKind.UNBIND else told.unit
            identity = (op.client_id, op.sequence)
            require(
                identity not in self._made_by,
                f"{op} takes effect in group {group} and in",
                self._made_by.get(identity),
            )
            self._made_by[identity] = group

    def nothing_lost(self) -> None:
        """To be asked once all replicas are equal: the last version of each name stands in the one
        group that holds its slot."""
        for name, (version, unit) in self.ledger.items():
            standing = [
                (binding[1], binding[0])
                for model in self.models.values()
                if (binding := model.bindings_at(model.last).get(name)) is not None
            ]
            right = [] if unit is None else [(version, unit)]
            require(standing == right, f"{name!r} stands as {standing}, not", right)

    def _members_changed(self, node: str, group: int, members: Members) -> None:
        """One step at a time."""
        before = self.members[group]
        why_not = before.why_not(members)
        require(not why_not, f"{node} group {group}: {members} after {before}: {why_not}")
        self.members[group] = members
        self.member_changes += 1

    def added(self, node: str, number: int, replica: Replica) -> None:
        """While the node runs."""
        self._lives[node, number] = _Life(replica.guard.commit_index, replica.table.applied)
        self._lives[node, number].changed = replica.table.applied

    # --- what is told ----------------------------------------------------------------------------

    def attempted(self, op: Op) -> None:
        fate = self._fates.setdefault((op.client_id, op.sequence), _OpFate())
        fate.attempts += 1

    def answered(self, node: str, group: int, ticket: Any, op: Op, outcome: Outcome) -> None:
        self._ends(node, ticket)
        self.told += 1
        identity = (op.client_id, op.sequence)
        if outcome.status in NOT_HAPPENED:
            self._fates[identity].not_happened += 1
        if outcome.status not in DEFINITE:
            return
        firsts = self._firsts(identity)
        if firsts != {told_of(outcome)}:
            raise Violation(f"{node} tells {op} that it ended as {outcome}, the log says {firsts}")
        if outcome.binding is not None:
            revision = max(self.acknowledged.get(group, 0), outcome.binding.revision)
            self.acknowledged[group] = revision
            version = max(self.acknowledged_version.get(op.name, 0), outcome.binding.version)
            self.acknowledged_version[op.name] = version

    def _firsts(self, identity: tuple[int, int]) -> set[Told]:
        """How an op ended the first time, by the groups that know of it: one, or by copies more."""
        return {
            model.first_outcome[identity]
            for model in self.models.values()
            if identity in model.first_outcome
        }

    def library_told(self, identity: tuple[int, int], binding: Binding | None) -> None:
        """A caller of the library has been told how its op ended, where that is definite."""
        self.told += 1
        firsts = self._firsts(identity)
        if len(firsts) != 1 or (
            binding is not None and (binding.unit, binding.version) != next(iter(firsts))[1:]
        ):
            raise Violation(f"the library tells {identity} of {binding}, the log says {firsts}")

    def library_denied(self, identity: tuple[int, int]) -> None:
        """A caller of the library has been told that its op did not happen."""
        self._fates[identity] = _OpFate(1, 1)

    def read(self, node: str, group: int, ticket: Any, replica: Replica, at_least: int) -> None:
        """A reader's barrier was passed."""
        self._ends(node, ticket)
        require(
            replica.table.applied >= at_least,
            f"{node} lets a reader see group {group} at {replica.table.applied}, not yet at",
            at_least,
        )

    def _ends(self, node: str, ticket: Any) -> None:
        if ticket in self._ended:
            raise Violation(f"{node} ends {ticket} a second time")
        self._ended.add(ticket)

    def ops_told_not_to_have_happened(self) -> None:
        """To be asked when no attempt is under way any more."""
        for (client_id, sequence), fate in self._fates.items():
            if fate.not_happened < fate.attempts:
                continue
            for group, model in self.models.items():
                require(
                    (client_id, sequence) not in model.first_outcome,
                    f"op ({client_id}, {sequence}) of group {group} was told not to have happened",
                    "but did",
                )

    # --- the table -------------------------------------------------------------------------------

    def _changed(
        self,
        node: str,
        group: int,
        of_group: int,
        changed: Changed,
        revision: int,
        model: Model,
    ) -> None:
        self.changes += 1
        if (of_group, changed.revision) != (group, revision):
            raise Violation(
                f"{node} tells of {changed} of group {of_group} where {revision} of {group} is due"
            )
        self._same_rows(node, group, revision, list(changed.rows), model)

    def _same_rows(
        self,
        node: str,
        group: int,
        revision: int,
        rows: list[HistoryRow],
        model: Model,
        *,
        copied: bool = False,
    ) -> None:
        said = [(row.client_id, row.sequence, told_of(row.outcome)) for row in rows]
        record = model.record(revision)
        right = [(op.client_id, op.sequence, told) for op, told in record.new]
        right += record.copied if copied else ()
        if said != right:
            raise Violation(f"{node} group {group}: revision {revision} led to {said}, not {right}")

    def _same_bindings(self, node: str, group: int, replica: Replica) -> None:
        applied = replica.table.applied
        found = {
            key[2:]: (binding.unit, binding.version, binding.revision)
            for key, binding in replica.table.scan(b"", b"\xff" * 16)
        }
        model = self.model(group)
        require(
            applied <= model.last,
            f"{node} group {group}: the table is at {applied}; nobody has applied beyond",
            model.last,
        )
        right = model.bindings_at(applied)
        require(found == right, f"{node} group {group} at {applied}: holds {found}, not", right)

    def recovered(self, node: str, group: int, replica: Replica) -> bool:
        """Whether a replica has caught up with everything that was ever applied."""
        if replica.table.applied < self.model(group).last:
            return False
        self._same_bindings(node, group, replica)
        return True


def told_of(outcome: Outcome) -> Told:
    binding = outcome.binding
    if binding is None:
        return Told(outcome.status, "", 0)
    assert isinstance(binding, Binding)
    return Told(outcome.status, binding.unit, binding.version)
