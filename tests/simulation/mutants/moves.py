"""Mutants of how slots move between groups, while callers write to them and watch them.

Two rules have none. What is copied is told to no watcher: it would be, if its revision there were
the one at which it is copied in, which is rare. What a group has refused it never adopts: for that
to matter a copy and an adoption must both come late. `tests/core` keeps both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from globaltable import holdings, slot_moves, slot_rows
from globaltable.holdings import NO_MOVES, Holding, Holdings, HoldingState
from globaltable.model import Outcome
from globaltable.server.watches import Watcher, Watches
from globaltable.slot_moves import Action, Ask, CopyOn, Ends
from globaltable.slot_rows import SlotRows, Taken
from globaltable.slot_steps import Adopt, Copy, Drop, Reclaim
from globaltable.table import Table
from globaltable.table_state import TableState
from globaltable.wire import frames
from tests.simulation import moving
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.schedule import SlotMove


def _held_while_released(self: Holdings, slot: int) -> bool:
    return slot in self.held or self.of(slot).state is HoldingState.RELEASED


def _hold_all_released(self: Holdings, slots: Sequence[int]) -> bool:
    return all(_held_while_released(self, slot) for slot in slots)


def _adopt_as_it_is(
    holding: Holding, hop: int, source: int, released_at: int, contents: Any, revision: int
) -> Holding:
    if holding.state is HoldingState.COPYING and (holding.hop, holding.group) == (hop, source):
        holding = holding._replace(through=max(holding.through, released_at))
        contents = (holding.rows, holding.digest)
    return _adopted(holding, hop, source, released_at, contents, revision)


def _adopt_too_soon(ends: Ends, here: Table, there: Holding, **how: bool) -> Action:
    """Who moves the slot is in a hurry, at times."""
    action = _next_action(ends, here, there, **how)
    held = here.holdings.of(ends.slot)
    if (
        isinstance(action, CopyOn)
        and held.state is HoldingState.RELEASED
        and there.state is HoldingState.COPYING
        and (there.hop, there.group) == (held.hop, ends.source)
        and here.applied % 2
    ):
        contents = slot_rows.Contents(there.rows, there.digest)
        return Ask(ends.target, Adopt(ends.slot, held.hop, ends.source, held.revision, *contents))
    return action


def _copy_without_ops(
    step: Copy, holding: Holding, revision: int, slots: int, rows: SlotRows
) -> Taken:
    return _copy(step, holding, revision, slots, rows)._replace(ops=())


def _held_whenever_proposed(self: Table, name: bytes, as_of: int) -> Outcome | None:
    return _why_not_held(self, name, 2**62)


def _reclaim_without_refusal(ends: Ends, here: Table, there: Holding, **how: bool) -> Action:
    held = here.holdings.of(ends.slot)
    if held.state is HoldingState.RELEASED and how["undo"] and there.adopted < held.hop:
        return Ask(ends.source, Reclaim(ends.slot, held.hop))
    return _next_action(ends, here, there, **how)


def _drop_once_released(ends: Ends, here: Table, there: Holding, **how: bool) -> Action:
    held = here.holdings.of(ends.slot)
    if held.state is HoldingState.RELEASED and held.group == ends.target:
        return Ask(ends.source, Drop(ends.slot, held.hop))
    return _next_action(ends, here, there, **how)


def _at_the_present(self: Watches, watcher: Watcher, after: Mapping[int, int]) -> None:
    (group,) = watcher.position
    _place(self, watcher, {group: after[group]} if group in after else {})


def _forget_moves(fields: list[Any]) -> TableState:
    return _decode_state(fields)._replace(moves=NO_MOVES)


_adopted = holdings.adopted
_copy = slot_rows._copy
_next_action = slot_moves.next_action
_why_not_held = Table._why_not_held
_place = Watches._place
_decode_state = frames._decode_state

_TO_AND_FRO: Final = tuple(
    SlotMove(round(0.2 + 0.05 * place + 0.3 * number, 2), slot, (slot + number + 1) % 2)
    for number in range(5)
    for place, slot in enumerate((1, 7, 13, 14))
)
_MOVED: Final = {
    "nodes": 3,
    "groups": 2,
    "clients": 4,
    "delay_s": 0.005,
    "sync_s": 0.002,
    "drift": 0.0,
    "moves": _TO_AND_FRO,
}

MUTANTS: Final[dict[str, Mutant]] = {
    "a slot that is served while it is released": Mutant(
        "a slot that was released is served no longer",
        lambda: [
            (Holdings, "holds", _held_while_released),
            (Holdings, "holds_all", _hold_all_released),
        ],
        1,
        fixed=_MOVED,
    ),
    "a slot that is adopted as far as it was copied": Mutant(
        "a slot is adopted only if all is there that was held when it was released",
        lambda: [
            (slot_rows, "adopted", _adopt_as_it_is),
            (moving, "next_action", _adopt_too_soon),
        ],
        1,
        first_seed=4,
        fixed=_MOVED,
        harness=("next_action",),
    ),
    "ops that are forgotten by a move": Mutant(
        "a retry that comes where the slot went is told its first outcome",
        lambda: [(slot_rows, "_copy", _copy_without_ops)],
        1,
        first_seed=4,
        fixed=_MOVED,
    ),
    "ops proposed before their slot came": Mutant(
        "an op of a batch that was made before its slot came is refused",
        lambda: [
            (Table, "_why_not_held", _held_whenever_proposed),
        ],
        1,
        fixed=_MOVED,
    ),
    "a slot that is taken back before it is refused": Mutant(
        "a slot is taken back only if it can never be adopted",
        lambda: [(moving, "next_action", _reclaim_without_refusal)],
        1,
        first_seed=3,
        fixed=_MOVED,
    ),
    "rows that are dropped once they are released": Mutant(
        "rows are deleted only once they are adopted elsewhere",
        lambda: [(moving, "next_action", _drop_once_released)],
        1,
        first_seed=2,
        fixed=_MOVED,
    ),
    "a snapshot that tells nothing of moves": Mutant(
        "what is held is part of a snapshot",
        lambda: [(frames, "_decode_state", _forget_moves)],
        1,
        first_seed=5,
        fixed=_MOVED,
    ),
    "a key's watcher that goes on at the present": Mutant(
        "a watcher of a key goes on in another group from where its slot came there",
        lambda: [(Watches, "_place", _at_the_present)],
        1,
        fixed=_MOVED,
    ),
    "changes that come before those of another group": Mutant(
        "of a slot that moved, what was changed before is watched before",
        lambda: [
            (Watches, "_limit", lambda self, watcher, group: None),
            (Watches, "_is_released", lambda self, adoption: True),
        ],
        1,
        first_seed=4,
        fixed=_MOVED,
    ),
}
