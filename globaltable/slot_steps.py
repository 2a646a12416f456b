"""The steps of a slot's move between two groups: what each asks of the group whose log it enters.

Here are the values; what they do to a group's holdings is in `holdings`, to its rows in
`slot_rows`, and which comes next in `slot_moves`. A step travels as a batch of its own, so that it
is proposed, replicated, told of and proposed again as ops are.
"""

from typing import Final, NamedTuple

from globaltable.wire.rows import HistoryRow

COPY_ROWS_MAX: Final = 1_024
COPY_OPS_MAX: Final = 1_024
"""In one `Copy`: of the longest names and units these are a good half of what an entry may hold."""

DROP_ROWS_MAX: Final = 1_024
"""That one `Drop` deletes, so that none holds up the ops behind it."""


class CopiedRow(NamedTuple):
    """A row as it stands in the group that it is copied from, but for the revision, which is that
    group's own. `unit` is None for a tombstone."""

    name: bytes
    unit: str | None
    version: int
    client_id: int
    sequence: int


class Release(NamedTuple):
    """Serve the slot no longer: group `to` is to adopt it at this hop."""

    slot: int
    hop: int
    to: int


class Copy(NamedTuple):
    """Stage rows, and remember how ops on the slot ended, of group `source`.

    A pass over the slot is several of these, one taken after the other. It brings all that `source`
    changed after its revision `after`; the last one says up to which revision, `through`, all the
    others `after` itself.
    """

    slot: int
    hop: int
    source: int
    after: int
    through: int
    rows: tuple[CopiedRow, ...]
    ops: tuple[HistoryRow, ...]


class Adopt(NamedTuple):
    """Serve what `source` released at its revision `released_at`, when it held so many rows with
    this digest (`slot_rows`)."""

    slot: int
    hop: int
    source: int
    released_at: int
    rows: int
    digest: bytes


class Drop(NamedTuple):
    """Delete rows of a slot that was released and is adopted elsewhere, or that was refused: some
    of them, so it is asked for until none is left."""

    slot: int
    hop: int


class Refuse(NamedTuple):
    """Never adopt the slot at this hop, nor at any before, from `source`."""

    slot: int
    hop: int
    source: int


class Reclaim(NamedTuple):
    """Serve what was released at this hop, and is never adopted at it."""

    slot: int
    hop: int


Step = Release | Copy | Adopt | Drop | Refuse | Reclaim
