"""Deliberate faults of fences and moves: each takes one rule away, and the simulation notices."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from globaltable.routing import moves
from globaltable.routing.client import unit as unit_module
from globaltable.routing.client.drains import Drains
from globaltable.routing.client.ownership import Ownership
from globaltable.routing.fence import Admission, Closed, Fence, Permit, Reception
from globaltable.routing.handover import Answer, Handover
from globaltable.routing.moves import KeyMove, Step
from globaltable.routing.route import Route
from globaltable.routing.service import mover
from globaltable.routing.service.revocation import Revocations
from tests.simulation.mutants.mutant import Mutant, Patch


def _believe_any_header(
    self: Fence, dimension: str, key: str, route: Route | None, now_s: float
) -> Admission:
    """A header that names this unit admits, whatever is closed."""
    if route is not None and route.unit == self.unit:
        entry = self._entry(dimension, key, now_s)
        entry.owned = max(entry.owned, route.version)
    return _admit(self, dimension, key, route, now_s)


async def _persist_later(self: Drains, rows: Sequence[Closed]) -> None:
    """The drain is acknowledged; the disk has it some time after."""
    self._fence.close(rows, self._clock())
    self._persisting.add(asyncio.create_task(self._rows.close_rows(rows)))


def _skip_the_drain(move: KeyMove, answer: Answer, detail: str = "") -> KeyMove:
    """The target opens, whatever the source says."""
    after = _answered(move, answer, detail)
    return after._replace(step=Step.RECEIVE) if after.step is Step.DRAIN else after


async def _do_not_wait(self: Revocations, unit: str, binding: Any, lease_s: float) -> float:
    self._waited[unit] = binding.version
    return 0.0


async def _lost_is_lost(self: Revocations, unit: str) -> bool:
    """Once its lease was waited for, a unit counts as lost, though it may have come back."""
    return unit in self._waited


async def _reopen_as_it_was(self: Ownership, dimension: str, key: str, version: int) -> bool:
    """An undo opens the drained version again."""
    entry = self._fence._entry(dimension, key, self._clock())
    entry.closed, entry.owned = version - 1, version
    return True


def _trust_as_before(self: Fence) -> None:
    """The lease is gone, and what was owned is owned again with the next."""
    self.lease.lost()


def _confirm_nothing(self: Permit, now_s: float) -> None:
    pass


def _receive_beside_messages(
    self: Fence, dimension: str, key: str, version: int, now_s: float
) -> Reception:
    self._entry(dimension, key, now_s).receiving = True
    return Reception.BEGUN


def _always_current(handover: Handover, binding: object) -> bool:
    return True


async def _wait_for_nothing(self: Drains, dimension: str, held: Any, timeout_s: float) -> None:
    """What is under way is forgotten, and goes on."""
    for one in held:
        self._fence._draining(dimension, one.key).under_way = 0


_admit: Final = Fence.admit
_answered: Final = moves.answered


def _of(*patches: Patch) -> Any:
    return lambda: patches


SELDOM: Final = frozenset(
    [
        "drain acknowledged before it is persisted",
        "trust after the lease was taken away",
        "acknowledged without confirming",
        "late data covers newer messages",
    ]
)
"""Those that take many seeds to be noticed."""

MUTANTS: Final = {
    "no version check": Mutant(
        "a header alone admits only above what is closed",
        _of((Fence, "admit", _believe_any_header)),
        20,
    ),
    "drain acknowledged before it is persisted": Mutant(
        "persist, then answer", _of((Drains, "_persist", _persist_later)), 100
    ),
    "opened before the drain is acknowledged": Mutant(
        "a move is committed only from a version that was drained",
        _of((mover, "answered", _skip_the_drain)),
        20,
    ),
    "moved by force without waiting for the lease": Mutant(
        "a lost unit's lease is waited for", _of((Revocations, "_wait", _do_not_wait)), 20
    ),
    "lost once is lost for ever": Mutant(
        "of a lost unit only what was read before its lease was seen revoked is committed",
        _of((Revocations, "in_force", _lost_is_lost)),
        20,
    ),
    "an undo opens the version that was drained": Mutant(
        "a version, once closed, is never served again",
        _of((Ownership, "claim", _reopen_as_it_was)),
        20,
    ),
    "trust after the lease was taken away": Mutant(
        "after its lease was taken away a unit serves only what it has claimed",
        _of((Fence, "lose_lease", _trust_as_before)),
        100,
    ),
    "acknowledged without confirming": Mutant(
        "nothing is acknowledged that is not confirmed under the same lease",
        _of((Permit, "confirm", _confirm_nothing)),
        100,
    ),
    "late data covers newer messages": Mutant(
        "data is received only for a version that is still current",
        _of((unit_module, "_is_current", _always_current)),
        100,
    ),
    "messages under way are not counted": Mutant(
        "a drain waits for what is under way", _of((Drains, "_emptied", _wait_for_nothing)), 20
    ),
}
