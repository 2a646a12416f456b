"""Mutants of what callers and watchers are told."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

from globaltable import op_effects, table
from globaltable.client._attempts import Attempts
from globaltable.client._lanes import WriteLane, WriteOp
from globaltable.errors import GlobalTableError
from globaltable.layered_rows import LayeredRows
from globaltable.model import Batch, OpKind
from globaltable.proposals import Proposals, Settled
from globaltable.server.watches import Watches
from globaltable.table import Applied, Table
from tests.simulation import world
from tests.simulation.mutants.mutant import Mutant, Patch
from tests.simulation.schedule import Fault


def _settle_by_place(self: Proposals, batch_id: bytes, outcomes: Any, **how: Any) -> Any:
    """The first batch that waits gets the answer, as with the library's request numbers."""
    if self._sealed:
        batch_id = next(iter(self._sealed))
    return _settle(self, batch_id, outcomes, **how)


def _readers_pass_anyway(self: Proposals, now: float) -> list[Settled]:
    """A reader whose time is up is told what one is told that has passed."""
    settled = _expire(self, now)
    return [end._replace(outcomes=()) if _is_reader(end) else end for end in settled]


def _is_reader(end: Settled) -> bool:
    _told, positions = end.ticket
    return not positions


def _no_tombstone(
    rows: LayeredRows, key: bytes, revision: int, op: Any, old: Any, unit: Any, told: str
) -> Any:
    if old is not None and old.unit is None:
        old = None
    return _write(rows, key, revision, op, old, unit, told)


def _always_another(client_id: int, sequence: int) -> int:
    return next(_numbers)


def _new_if_not_dirty(rows: LayeredRows, kinds: Sequence[OpKind], keys: Sequence[bytes]) -> bool:
    return (
        set(kinds) == {OpKind.BIND}
        and len(set(keys)) == len(keys)
        and rows._changed.keys().isdisjoint(keys)
    )


def _new_before_the_batch(
    rows: LayeredRows, kinds: Sequence[OpKind], keys: Sequence[bytes]
) -> bool:
    return set(kinds) == {OpKind.BIND} and not any(map(rows.get, keys))


def _apply_stale(self: Table, revision: int, term: int, batch: Batch) -> Applied:
    return _apply(self, revision, term, batch._replace(as_of=2**62))


def _retry_as_another_op(
    self: WriteLane, number: int, payloads: Iterable[WriteOp], timeout_s: float
) -> bytes:
    """As if every attempt were an op of its own."""
    renamed = [op._replace(sequence=op.sequence + 1_000 * number) for op in payloads]
    return _numbered_request(self, number, renamed, timeout_s)


def _deny_what_may_have_happened(
    self: Attempts, subject: str, idempotent: bool, in_flight: bool
) -> GlobalTableError:
    self.maybe_happened = False
    return _deadline_error(self, subject, idempotent, False)


def _short_history(ops: int) -> Patch:
    return (
        world,
        "SMALL_LIMITS",
        tuple(
            (module, name, ops if name == "HISTORY_OPS_MAX" else value)
            for module, name, value in world.SMALL_LIMITS
        ),
    )


_numbers = itertools.count()
_numbered_request = WriteLane.numbered_request
_deadline_error = Attempts.deadline_error
_settle = Proposals.settle
_expire = Proposals.expire
_write = op_effects._write
_apply = Table.apply

_PAUSES: Final = (
    Fault(0.3, "pause", 1, 0, 1.2),
    Fault(0.4, "pause", 2, 0, 0.2),
)
"""A node goes on with what it had proposed when others have long forgotten it."""

MUTANTS: Final[dict[str, Mutant]] = {
    "outcome by place": Mutant(
        "an outcome belongs to the batch id found in the applied entry",
        lambda: [
            (Proposals, "settle", _settle_by_place),
            (Proposals, "awaits", lambda self, batch_id: True),
        ],
        1,
    ),
    "no tombstone": Mutant(
        "a version is never used again",
        lambda: [(op_effects, "_write", _no_tombstone)],
        1,
    ),
    "no memory of ops": Mutant(
        "a retried op takes effect once",
        lambda: [(table, "identity_of", _always_another)],
        1,
    ),
    "a table that overlooks what it has flushed": Mutant(
        "of all binds of a key one wins",
        lambda: [(op_effects, "_are_binds_of_new_keys", _new_if_not_dirty)],
        1,
    ),
    "a key bound twice in one batch": Mutant(
        "of all binds of a key one wins",
        lambda: [(op_effects, "_are_binds_of_new_keys", _new_before_the_batch)],
        1,
        first_seed=52,
    ),
    "stale batches applied": Mutant(
        "a batch older than the memory of ops is refused",
        lambda: [(Table, "apply", _apply_stale), _short_history(80)],
        2,
        fixed={"nodes": 3, "groups": 1, "clients": 4, "unruly": True, "faults": _PAUSES},
        harness=("SMALL_LIMITS",),
    ),
    "readers pass when their time is up": Mutant(
        "a reader passes only behind a batch of its own that was applied",
        lambda: [(Proposals, "expire", _readers_pass_anyway)],
        1,
        first_seed=50,
    ),
    "a retry without its op id": Mutant(
        "a retry carries the identity of the op",
        lambda: [(WriteLane, "numbered_request", _retry_as_another_op)],
        1,
    ),
    "the unknown denied": Mutant(
        "an op is said not to have happened only if no attempt can have",
        lambda: [(Attempts, "deadline_error", _deny_what_may_have_happened)],
        2,
        first_seed=18,
    ),
    "watchers not told of a snapshot": Mutant(
        "a watcher whose replica skips changes goes back to the history",
        lambda: [(Watches, "jumped", lambda self, group: None)],
        1,
        first_seed=6,
    ),
}
