"""What a mover asks of units, and what they answer: the values of a move.

::

    drain    at the source: admit no more at this version; answered when it is durably closed
    receive  at the target: take in the data of the closed version, from the source
    settle   at both: the key lives there, at this version (after the commit, or to undo a drain)

Each may be repeated, late or twice: versions tell what is of the past.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from globaltable.errors import Unavailable


class Handover(NamedTuple):
    """One key that goes from `source`, where it lives at `version`, to `target`."""

    key: str
    version: int
    source: str
    target: str
    """Empty if the key is to be unbound."""
    forced: bool = False
    """The source did not close it: it is lost, and what its copies hold is what there is."""


class Place(NamedTuple):
    """Where a key lives."""

    key: str
    unit: str
    version: int


class Answer(enum.Enum):
    """What a unit says of one key."""

    DONE = "done"
    BUSY = "messages are under way"
    """Nothing has changed; to be asked again."""
    SUPERSEDED = "of the past"
    """The version is no longer what it was: read the binding anew."""
    FAILED = "failed"
    """The application's part failed; to be asked again."""


class Reply(NamedTuple):
    answer: Answer
    detail: str = ""


class UnitLost(Unavailable):
    """A unit cannot be told of a move: nobody answers where it says it can be reached."""


class UnitControl(Protocol):
    """A unit as a mover reaches it: the unit itself, or its gRPC service.

    Raises `UnitLost` if it does not answer, and then nothing is known of what it did.
    """

    async def drain(
        self, dimension: str, handovers: Sequence[Handover], timeout_s: float
    ) -> list[Reply]:
        """Admit no more, and wait up to `timeout_s` for what is under way; what is not `DONE` by
        then is `BUSY`, and admitted again."""

    async def receive(self, dimension: str, handovers: Sequence[Handover]) -> list[Reply]:
        """Take in the data."""

    async def settle(self, dimension: str, places: Sequence[Place]) -> list[Reply]:
        """Know where keys live. To be told of a version that this very unit has closed means that
        the move is off: the unit binds the key anew, to itself."""
