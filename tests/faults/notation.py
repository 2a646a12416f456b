"""Histories of one key as drawings, for tests that a person should be able to check by eye.

A lane is a client, a column a moment::

    a  [bind A = new A1]      [move C 1 = conflict B2]
    b       [bind B = A1]  [move B 1 = B2]
    c         [get = none]  [unbind 2 = ?]

`[` is the invocation and `]` the return; dots stretch an op. `A1` is unit A at version 1, `new` is
`created`, `?` an unknown ending. `local` reads the client's own node, which never restarts here.
"""

import re
from typing import Final

from globaltable.model import Binding
from tests.faults.history import Ending, Event, Kind

KEY: Final = "k"
_OP: Final = re.compile(r"\[([^\]]*)\]")
_ASKED: Final = re.compile(r"(bind|move|unbind|get|local)(?: ([A-Z]))?(?: (\d+))?")
_KINDS: Final = {"local": Kind.LOCAL_GET}
_ENDINGS: Final = {
    "?": Ending.UNKNOWN,
    "failed": Ending.FAILED,
    "not bound": Ending.NOT_BOUND,
    "done": Ending.OK,
    "none": Ending.OK,
}


def read_drawing(drawing: str) -> list[Event]:
    """The events of a drawing, by invocation."""
    events = []
    for lane in drawing.splitlines():
        if lane.strip():
            client = lane.split()[0]
            events += [_event(client, match) for match in _OP.finditer(lane)]
    return sorted(events, key=lambda event: event.invoked)


def _event(client: str, drawn: re.Match[str]) -> Event:
    asked, _, answer = (part.strip(" .") for part in drawn[1].partition("="))
    parsed = _ASKED.fullmatch(asked)
    assert parsed is not None, drawn[0]
    verb, unit, version = parsed.groups()
    kind = _KINDS.get(verb) or Kind(verb)
    ending, told = _ending(answer)
    return Event(
        client=client,
        kind=kind,
        key=KEY,
        unit=unit or "",
        version=int(version or 0),
        invoked=drawn.start(),
        ending=ending,
        told=told,
        returned=drawn.end() - 1,
        replica=f"{client}.0" if kind is Kind.LOCAL_GET else "",
    )


def _ending(answer: str) -> tuple[Ending, Binding | None]:
    if answer in _ENDINGS:
        return _ENDINGS[answer], None
    *words, where = answer.split()
    unit, version = where[0], int(where[1:])
    told = Binding(unit, version, revision=10 * version, created=words == ["new"])
    return Ending.CONFLICT if words == ["conflict"] else Ending.OK, told
