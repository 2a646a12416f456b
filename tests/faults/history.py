"""What concurrent clients did and were told, as values, and the file that a history is kept in.

Responsible for what a history *is*. It says nothing of what is right (`register`, `local_reads`,
`versions`) and does not know how it came about (`recorder`).

Invariants:

* Times are nanoseconds of one monotonic clock. `invoked` was read before anything was sent,
  `returned` after the answer was known: the op took effect, if it did, between the two. So what
  the recorder adds makes intervals longer, never shorter, and no good history looks bad for it.
* An op whose ending is UNKNOWN, or which the history's end has cut off (`returned` is None), may
  take effect at any time after `invoked`, or never. `returned` then only tells when its client
  gave up.
"""

import enum
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from globaltable.model import Binding

_FORMAT: Final = {"history of": "globaltable", "format": 1}


class Kind(enum.StrEnum):
    """What a client asked for."""

    BIND = "bind"
    MOVE = "move"
    UNBIND = "unbind"
    GET = "get"
    """With `linearizable=True`."""
    LOCAL_GET = "local get"

    @property
    def is_read(self) -> bool:
        return self in (Kind.GET, Kind.LOCAL_GET)


class Ending(enum.StrEnum):
    """How an op ended for its client. NOT_BOUND and CONFLICT change nothing, but tell something."""

    OK = "ok"
    NOT_BOUND = "not bound"
    CONFLICT = "conflict"
    FAILED = "failed"
    """For certain: it did not and will not happen."""
    UNKNOWN = "unknown"


class Event(NamedTuple):
    """One op of one client, from its invocation to its end."""

    client: str
    """Who asked: it asks for one thing at a time."""
    kind: Kind
    key: str
    unit: str
    """To bind or to move to; empty for the others."""
    version: int
    """To move or to unbind from; 0 for the others."""
    invoked: int
    ending: Ending = Ending.UNKNOWN
    told: Binding | None = None
    """With OK the result, with CONFLICT the current binding."""
    returned: int | None = None
    replica: str = ""
    """The node that answered, and in which of its lives; empty if that is not known."""
    error: str = ""
    """The type of what was raised."""


class UnreadableHistory(ValueError):
    """A file holds no history, or not a whole one."""


def write_history(path: Path, events: Iterable[Event]) -> None:
    """One line of JSON for each event, an array: such a file is large, and read by people too."""
    with path.open("w", encoding="utf-8") as file:
        for row in (_FORMAT, *events):
            file.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")


def read_history(path: Path) -> list[Event]:
    """The inverse of `write_history`. Raises `UnreadableHistory`."""
    with path.open(encoding="utf-8") as file:
        lines = iter(file)
        if _decoded(path, 1, next(lines, "null")) != _FORMAT:
            raise UnreadableHistory(f"{path} does not begin as a history of format 1 does")
        return [
            _event(path, number, _decoded(path, number, line))
            for number, line in enumerate(lines, start=2)
        ]


def _decoded(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UnreadableHistory(f"{path}:{number} is not JSON: {error}") from error


def _event(path: Path, number: int, row: Any) -> Event:
    try:
        event = Event(*row)
        told = Binding(*event.told) if event.told is not None else None
        return event._replace(kind=Kind(event.kind), ending=Ending(event.ending), told=told)
    except (TypeError, ValueError) as error:
        raise UnreadableHistory(f"{path}:{number} is no event: {row!r}") from error
