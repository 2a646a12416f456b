"""Moves with a fence: of one key, what comes next; of many, which they are and where they go.

Pure: `service/mover.py` carries it out. Nothing of a move is remembered but what is durable
elsewhere: the binding says whether it is committed, the source's fence whether it is drained, and
the job's note where the key came from. So whoever goes on after a crash begins each key anew, and
each step that was made already is answered at once.

::

    READ      the binding, linearizably                    the key is elsewhere: nothing to do
    NOTE      bind moved/JOB/KEY to the source             for an undo
    DRAIN     the source closes the key, durably           a lost source: its lease instead
    RECEIVE   the target takes in the data
    COMMIT    compare-and-set from the drained version     the one moment at which the key moves
    SETTLE    both are told

Invariants: COMMIT is made only from the version that was drained (or, of a lost source, from one
that was read *before* its lease was seen to be still revoked: what the unit claims since then has
a higher version). An undo never reopens a drained version: the unit claims a new one, so that a
slow mover's COMMIT of before fails.
"""

import enum
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from globaltable import limits, validation
from globaltable.errors import Corrupt, InvalidArgument
from globaltable.model import Binding
from globaltable.routing.handover import Answer
from globaltable.routing.rendezvous import chosen

ATTEMPTS_MAX: Final = 40
"""Steps of one key that led nowhere, before it is left for later."""

JOB_PREFIX: Final = "move/"
STATE_PREFIX: Final = "move-state/"
NOTE_PREFIX: Final = "moved/"
_JOB_ID_CHARACTERS: Final = 8
NOTED_KEY_BYTES_MAX: Final = limits.KEY_BYTES_MAX - len(NOTE_PREFIX) - _JOB_ID_CHARACTERS - 1
"""A longer key cannot be noted, and so not be moved."""

SPREAD: Final = "spread"


class Step(enum.Enum):
    """What is done next with one key."""

    READ = "read"
    NOTE = "note"
    DRAIN = "drain"
    RECEIVE = "receive"
    COMMIT = "commit"
    SETTLE = "settle"
    DONE = "done"
    THERE = "there"
    """It was there already, and nothing was moved."""
    ELSEWHERE = "elsewhere"
    """Somebody else has moved or unbound it meanwhile: it is not this job's any more."""
    GIVEN_UP = "given up"


ENDS: Final = frozenset([Step.DONE, Step.THERE, Step.ELSEWHERE, Step.GIVEN_UP])

FOLLOWS: Final[Mapping[Step, Step]] = MappingProxyType(
    {
        Step.NOTE: Step.DRAIN,
        Step.DRAIN: Step.RECEIVE,
        Step.RECEIVE: Step.COMMIT,
        Step.COMMIT: Step.SETTLE,
        Step.SETTLE: Step.DONE,
    }
)
"""Once a step is done. What follows READ depends on what was read."""


class KeyMove(NamedTuple):
    """One key on its way to `target`."""

    key: str
    target: str
    step: Step = Step.READ
    source: str = ""
    version: int = 0
    """Where it lives, once that was read."""
    lost: bool = False
    """The source is lost: its lease, and not its word, says that it serves nothing."""
    attempts: int = 0
    detail: str = ""
    """Why the last attempt led nowhere."""


def read(move: KeyMove, binding: Binding | None, from_units: frozenset[str] | None) -> KeyMove:
    """After READ. `from_units` are those that it may be moved away from; None for any."""
    if binding is None:
        return move._replace(step=Step.ELSEWHERE)
    if binding.unit == move.target:
        # There already; or drained there, by a move that is off; or by a commit of before, whose
        # end was not known.
        source = move.source or move.target
        return move._replace(step=Step.SETTLE, source=source, version=binding.version)
    move = move._replace(source=binding.unit, version=binding.version, lost=False)
    if from_units is not None and binding.unit not in from_units:
        return move._replace(step=Step.ELSEWHERE)
    return move._replace(step=Step.NOTE)


def source_is_lost(move: KeyMove) -> KeyMove:
    """After READ: the source's lease was seen to be revoked still, and has been for long enough."""
    assert move.step is Step.NOTE, move
    return move._replace(lost=True)


def answered(move: KeyMove, answer: Answer, detail: str = "") -> KeyMove:
    """After any other step."""
    if answer is Answer.DONE:
        following = FOLLOWS[move.step]
        if following is Step.DONE and move.source == move.target:
            following = Step.THERE
        if following is Step.DRAIN and move.lost:
            following = Step.RECEIVE
        return move._replace(step=following)
    attempts = move.attempts + 1
    if attempts >= ATTEMPTS_MAX:
        return move._replace(step=Step.GIVEN_UP, attempts=attempts, detail=detail or answer.value)
    # What was read for a lost source is not to be acted on much later than it was checked.
    again = Step.READ if answer is Answer.SUPERSEDED or move.lost else move.step
    return move._replace(step=again, attempts=attempts, detail=detail or answer.value)


class SelectionKind(enum.Enum):
    """What a job moves."""

    SESSION = "session"
    PREFIX = "prefix"
    """A tenant: all keys that begin with it."""
    UNIT = "unit"
    """All that lives in a unit."""


class JobState(enum.Enum):
    """How a job stands, whether or not anybody runs it: the unit of `move-state/JOB`."""

    OPEN = "open"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


class Job(NamedTuple):
    """What is to be moved where. Raises InvalidArgument where it is made by `checked`."""

    dimension: str
    table: str
    kind: SelectionKind
    value: str
    """The key, the prefix or the unit."""
    to: str
    """A unit; `SPREAD` for all others."""
    forced: bool = False
    """Units that do not answer are lost: their leases are revoked, and waited for."""

    def checked(self) -> "Job":
        validation.require_table(self.table)
        validation.require_unit(self.to)
        if not self.dimension:
            raise InvalidArgument("dimension is empty; name what is moved, as in 'chat'")
        if self.kind is SelectionKind.UNIT:
            validation.require_unit(self.value)
            if self.value == self.to:
                raise InvalidArgument(f"unit {self.value!r} cannot be moved to itself")
        else:
            validation.require_key(self.value)
            if self.forced:
                raise InvalidArgument(
                    "a move by force is of a whole unit, for it takes the unit's lease away; "
                    f"name the unit, not {self.kind.value} {self.value!r}"
                )
        return self

    def selects(self, key: str, binding: Binding) -> bool:
        """Whether a binding of the table is one that is to be moved, wherever it is by now."""
        match self.kind:
            case SelectionKind.SESSION:
                return key == self.value
            case SelectionKind.PREFIX:
                return key.startswith(self.value)
            case SelectionKind.UNIT:
                return binding.unit == self.value

    @property
    def scanned_prefix(self) -> str:
        return "" if self.kind is SelectionKind.UNIT else self.value

    def target(self, key: str, units: Iterable[str]) -> str:
        """Where a key goes; the same for whoever knows the same units. Raises InvalidArgument."""
        if self.to != SPREAD:
            return self.to
        emptied = self.value if self.kind is SelectionKind.UNIT else ""
        target = chosen(key, [(unit, 1.0) for unit in sorted(units) if unit != emptied])
        if target is None:
            raise InvalidArgument("there is no unit to spread keys over that movers can reach")
        return target

    def text(self) -> str:
        """In ASCII; the inverse of `parse`."""
        return json.dumps([*self[:2], self.kind.value, *self[3:]])

    @classmethod
    def parse(cls, text: str) -> "Job":
        """Raises Corrupt."""
        try:
            dimension, table, kind, value, to, forced = json.loads(text)
            return cls(dimension, table, SelectionKind(kind), value, to, forced).checked()
        except (ValueError, TypeError) as error:
            raise Corrupt(f"{text!r} is no job of moves: {error}") from None


def note_key(job_id: str, key: str) -> str:
    """Where it is noted whence a job moved a key. Raises LimitExceeded for one that is too long."""
    note = f"{NOTE_PREFIX}{job_id}/{key}"
    if len(note.encode()) > limits.KEY_BYTES_MAX:
        raise InvalidArgument(
            f"key {key[:40]!r}… is longer than {NOTED_KEY_BYTES_MAX} bytes, and cannot be moved: "
            "there is no room to note where it came from"
        )
    return note


def noted_key(job_id: str, note: str) -> str:
    """The inverse of `note_key`."""
    return note.removeprefix(f"{NOTE_PREFIX}{job_id}/")
