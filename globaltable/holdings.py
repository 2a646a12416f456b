"""What a group holds of the slots that were moved into it or out of it: values and transitions.

A group's holdings are part of its table's state: replicated in its log, flushed with its rows, part
of its snapshots. A slot that was never moved stands in none of them: it is held by the group that
it was dealt to (`deal`). Each move of a slot has a *hop*, a number that rises along the slot's way
from group to group. One move, from group A to group B, is steps in the two logs:

::

    A   HELD ──release──> RELEASED ──drop──> DROPPED       B   ABSENT, DROPPED, REFUSED
          ^──reclaim──────────'                                  │ copy          ^
                                                                 v               │ drop
                                                              COPYING ──refuse──> REFUSED
                                                                 │ adopt
                                                                 v
                                                               HELD

Invariants, which hold whatever is asked for, in any order and any number of times:

* A step that was taken already changes nothing, and is no error; one that is out of order is
  refused and changes nothing.
* A slot is served in HELD only. Hops never fall in a group, and HELD is left only for a higher hop.
* What a group has refused it never adopts, and what it has adopted it never refuses (`adopted`).

So of two groups at most one serves a slot, if whoever drives a move keeps to this (`slot_moves`):
a group is asked to adopt only what the other has released to it, to reclaim only what the other can
never adopt, and to drop only what the other has adopted. Each of these is a fact that never ceases
to be one, so it may be known from any replica, however late.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from globaltable.deal import Deal
from globaltable.errors import Corrupt, StepRefused

NO_GROUP: Final = -1
DIGEST_BYTES: Final = 16
NO_ROWS_DIGEST: Final = bytes(DIGEST_BYTES)


class HoldingState(enum.IntEnum):
    """The numbers are those of the stored format."""

    ABSENT = 0
    """It was never here."""
    HELD = 1
    COPYING = 2
    """Rows are staged, and not served."""
    RELEASED = 3
    """Another group is to adopt it. The rows are still here, and not served."""
    DROPPED = 4
    """Another group has adopted it: the rows are being deleted, or are."""
    REFUSED = 5
    """It is not adopted here at this hop, nor at any before. What was staged may still be here."""


class Holding(NamedTuple):
    """Of one slot in one group. Zero or empty is what says nothing in the state."""

    state: HoldingState
    hop: int = 0
    group: int = NO_GROUP
    """The other one. HELD, COPYING, REFUSED: from where; RELEASED, DROPPED: to where."""
    revision: int = 0
    """Of this group: of the entry that brought the slot to this state; 0 as it was dealt."""
    released_at: int = 0
    """HELD: the revision of the other group at which that released it."""
    adopted: int = 0
    """The highest hop that this group has adopted."""
    through: int = 0
    """COPYING: what the other group had changed up to this revision of its own is all here."""
    rows: int = 0
    """COPYING: how many are staged."""
    digest: bytes = b""
    """COPYING: of the staged rows (`slot_rows`)."""
    emptied: bool = False
    """DROPPED, REFUSED: no row is left here."""

    @property
    def is_empty(self) -> bool:
        """Nothing of the slot is here, so that it may be copied in."""
        return self.state is HoldingState.ABSENT or self.emptied

    def never_adopts(self, hop: int) -> bool:
        """Whether this group has not adopted the slot at this hop, nor ever will. To be asked of a
        group to which the slot was, or might be, released at that hop."""
        if self.adopted >= hop or self.state is HoldingState.HELD:
            return False
        if self.state is HoldingState.REFUSED:
            return self.hop >= hop
        return self.hop > hop


ABSENT: Final = Holding(HoldingState.ABSENT)
DEALT: Final = Holding(HoldingState.HELD)

Moved = Mapping[int, Holding]
"""By slot, of those that were ever moved in or out. Never changed in place."""


class Adoption(NamedTuple):
    """A slot came to be held at `revision` that another group had released at its `released_at`:
    all that was changed there came before what is changed here behind it."""

    revision: int
    slot: int
    source: int
    released_at: int


class Moves(NamedTuple):
    """What a group's table keeps of moves: of each slot that was ever moved what is held of it, and
    the adoptions that are no older than the history of ops, in the order of their revisions."""

    moved: Moved = MappingProxyType({})
    adoptions: tuple[Adoption, ...] = ()


NO_MOVES: Final = Moves()


# --- transitions ----------------------------------------------------------------------------------


def released(holding: Holding, hop: int, to: int, revision: int) -> Holding:
    """It is no longer served here from `revision` on, and `to` may adopt it at `hop`."""
    if holding.state is HoldingState.RELEASED and (holding.hop, holding.group) == (hop, to):
        return holding
    if holding.state is not HoldingState.HELD or hop <= holding.hop:
        raise _out_of_order("released", hop, holding)
    return Holding(HoldingState.RELEASED, hop, to, revision, adopted=holding.adopted)


def copying(holding: Holding, hop: int, source: int, after: int, revision: int) -> Holding:
    """Rows may be staged that `source` had changed after its revision `after`.

    A copy that was begun at a lower hop is gone on with: what is staged are earlier versions of
    rows of this very slot, and each row says its version.
    """
    if holding.state is HoldingState.COPYING and holding.hop <= hop:
        if holding.hop < hop:
            holding = holding._replace(hop=hop, group=source, revision=revision, through=0)
    elif holding.is_empty and holding.hop < hop:
        holding = Holding(
            HoldingState.COPYING,
            hop,
            source,
            revision,
            adopted=holding.adopted,
            digest=NO_ROWS_DIGEST,
        )
    else:
        raise _out_of_order("copied in", hop, holding)
    if holding.group != source:
        raise StepRefused(f"hop {hop} comes from group {holding.group}, not from {source}")
    if after > holding.through:
        raise StepRefused(
            f"what group {source} changed between revisions {holding.through} and {after} has not "
            "been copied; copy that first"
        )
    return holding


def adopted(
    holding: Holding,
    hop: int,
    source: int,
    released_at: int,
    contents: tuple[int, bytes],
    revision: int,
) -> Holding:
    """It is served here from `revision` on, if all is here that `source` held when it released it:
    `contents` are the count and the digest of its rows then."""
    if holding.state is HoldingState.HELD and holding.hop == holding.adopted == hop:
        return holding
    if holding.state is not HoldingState.COPYING or holding.hop != hop:
        raise _out_of_order("adopted", hop, holding)
    if holding.group != source:
        raise StepRefused(f"hop {hop} comes from group {holding.group}, not from {source}")
    if holding.through < released_at:
        raise StepRefused(
            f"what group {source} changed after revision {holding.through} has not been copied; it "
            f"released the slot at {released_at}"
        )
    if (holding.rows, holding.digest) != contents:
        raise StepRefused(
            f"{holding.rows} rows are staged that are not the {contents[0]} rows of group {source}"
        )
    return Holding(HoldingState.HELD, hop, source, revision, released_at, adopted=hop)


def refused(holding: Holding, hop: int, source: int, revision: int) -> Holding:
    """It is never adopted here at `hop`, nor at any before."""
    # What was released may be the only copy until its successor is known to have adopted it.
    kept = holding.state in (HoldingState.HELD, HoldingState.RELEASED)
    if kept or holding.adopted >= hop:
        raise _out_of_order("refused", hop, holding)
    if holding.never_adopts(hop):
        return holding
    return Holding(
        HoldingState.REFUSED,
        hop,
        source,
        revision,
        adopted=holding.adopted,
        emptied=holding.is_empty,
    )


def reclaimed(holding: Holding, hop: int, revision: int) -> Holding:
    """What was released at `hop`, and is never adopted, is served here again."""
    if holding.state is HoldingState.HELD and holding.hop == hop > holding.adopted:
        return holding
    if holding.state is not HoldingState.RELEASED or holding.hop != hop:
        raise _out_of_order("reclaimed", hop, holding)
    return Holding(HoldingState.HELD, hop, NO_GROUP, revision, adopted=holding.adopted)


def dropping(holding: Holding, hop: int, revision: int) -> Holding:
    """Its rows, which are of no use here any more, are deleted; who deletes the last says
    `emptied`."""
    if holding.hop == hop and holding.state in (HoldingState.DROPPED, HoldingState.REFUSED):
        return holding
    if holding.hop == hop and holding.state is HoldingState.RELEASED:
        return holding._replace(state=HoldingState.DROPPED, revision=revision)
    raise _out_of_order("dropped", hop, holding)


def _out_of_order(what: str, hop: int, holding: Holding) -> StepRefused:
    return StepRefused(
        f"the slot cannot be {what} at hop {hop}: it is {holding.state.name} here at hop "
        f"{holding.hop}"
    )


# --- a group's ------------------------------------------------------------------------------------


class Holdings:
    """What a group holds of all slots: its deal, and what was moved since. Immutable."""

    __slots__ = ("_deal", "_slots", "held", "held_since", "moved", "moves")

    def __init__(self, deal: Deal, slots: int, moves: Moves = NO_MOVES) -> None:
        self._deal = deal
        self._slots = slots
        self.moves = moves
        self.moved = moved = moves.moved
        if moved and max(moved) >= slots:
            raise Corrupt(f"something is held of slot {max(moved)}, and there are {slots}")
        self.held = frozenset(
            {slot for slot in deal.slots(slots) if slot not in moved}
            | {slot for slot, holding in moved.items() if holding.state is HoldingState.HELD}
        )
        """The slots that are served."""
        self.held_since = self._latest()
        """The latest revision at which one of them came to be."""

    def _latest(self) -> int:
        moved = self.moved
        return max((moved[slot].revision for slot in self.held & moved.keys()), default=0)

    def of(self, slot: int) -> Holding:
        holding = self.moved.get(slot)
        if holding is not None:
            return holding
        return DEALT if self._deal.holds(slot) else ABSENT

    def holds(self, slot: int) -> bool:
        return slot in self.held

    def holds_all(self, slots: Iterable[int]) -> bool:
        return self.held.issuperset(slots)

    @property
    def adoptions(self) -> tuple[Adoption, ...]:
        return self.moves.adoptions

    def changed(self, slot: int, holding: Holding, floor: int) -> "Holdings":
        """With another holding of a slot; `floor` is that of the history of ops."""
        kept = [one for one in self.moves.adoptions if one.revision > floor]
        if holding.state is HoldingState.HELD and holding.adopted == holding.hop:
            kept.append(Adoption(holding.revision, slot, holding.group, holding.released_at))
        # From what there is: a group may hold thousands, and a move is a few changes of one.
        after = Holdings.__new__(Holdings)
        after._deal, after._slots = self._deal, self._slots
        after.moved = {**self.moved, slot: holding}
        after.moves = Moves(after.moved, tuple(kept))
        was, held = self.of(slot), holding.state is HoldingState.HELD
        after.held = self.held | {slot} if held else self.held - {slot}
        if was.state is HoldingState.HELD and was.revision == self.held_since:
            after.held_since = after._latest()
        else:
            after.held_since = max(self.held_since, holding.revision if held else 0)
        return after

    def went_to(self, slot: int) -> int | None:
        """The group that a slot was released to when it was last held here; None if that is not
        known."""
        holding = self.of(slot)
        released = holding.state in (HoldingState.RELEASED, HoldingState.DROPPED)
        return holding.group if released else None

    def claim(self, slot: int) -> tuple[int, int | None] | None:
        """The hop at which a slot came here (None), or went to another group; None if this group
        does not know."""
        holding = self.of(slot)
        if holding.state is HoldingState.HELD:
            return holding.hop, None
        to = self.went_to(slot)
        return None if to is None else (holding.hop, to)

    @property
    def claims(self) -> Iterator[tuple[int, int, int | None]]:
        """`claim` of each slot of which there is one, behind the slot."""
        for slot in {*self._deal.slots(self._slots), *self.moved}:
            claim = self.claim(slot)
            if claim is not None:
                yield slot, *claim


def keepers(of_groups: Mapping[int, Holdings]) -> dict[int, int]:
    """By slot, the group whose rows of it count, among groups of which each may be as of another
    time, and none goes on: that holds it at the highest hop, or has released it and nobody has
    adopted it, or else that has copied it."""
    found: dict[int, tuple[int, int]] = {}
    for group, holdings in of_groups.items():
        for slot in holdings.held | holdings.moved.keys():
            holding = holdings.of(slot)
            order = {
                HoldingState.HELD: 2 * holding.hop + 1,
                HoldingState.RELEASED: 2 * holding.hop,
                HoldingState.COPYING: -1,
            }.get(holding.state)
            if order is not None:
                found[slot] = max(found.get(slot, (order, group)), (order, group))
    return {slot: group for slot, (_, group) in found.items()}
