"""Which ops of a write request are begun: those that its caller has the right and the rate for.

The others are told why, each by itself, as a bad op is: a client's callers share its stream, and
one that may not move must not end what another binds. What moves and unbinds come to is audited.

Nothing of this is met where nobody is asked who they are: a node in the clear.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.audit import RETRY_S
from globaltable.server.callers import Caller
from globaltable.server.driver import Told
from globaltable.server.ops import OpColumns
from globaltable.server.security import Right
from globaltable.v1 import globaltable_pb2 as pb

_RIGHTS: Final[Mapping[int, Right]] = {
    pb.OP_KIND_BIND: Right.BIND,
    pb.OP_KIND_MOVE: Right.MOVE,
    pb.OP_KIND_UNBIND: Right.MOVE,
}
"""An op of no kind that is known takes none: it is refused for that."""
_AUDITED: Final[Mapping[int, str]] = {pb.OP_KIND_MOVE: "move", pb.OP_KIND_UNBIND: "unbind"}


class Admitted(NamedTuple):
    """The ops that are left, and who is told of them."""

    columns: OpColumns
    told: Told
    retry_delay_s: float = 0.0
    """After which those may be asked for again that were refused for now."""


def admit(caller: Caller, columns: OpColumns, told: Told, now_s: float) -> Admitted:
    """Tell of what is refused, and return what is not."""
    wait_s = caller.take(columns.ops, now_s)
    if wait_s > 0.0:
        over = Outcome(OutcomeStatus.OVERLOADED, None, caller.over_its_rate())
        told(range(columns.ops), [over] * columns.ops)
        return Admitted(_at(columns, ()), told, wait_s)
    kinds = set(columns.kinds)
    refused = {kind: why for kind in kinds if (why := _refusal(caller, kind, columns.table))}
    positions: Sequence[int] = range(columns.ops)
    if refused:
        denied = [place for place in positions if columns.kinds[place] in refused]
        positions = [place for place in positions if columns.kinds[place] not in refused]
        told(denied, [refused[columns.kinds[place]] for place in denied])
        for kind in refused:
            if refused[kind].status is OutcomeStatus.PERMISSION_DENIED:
                verb = pb.OpKind.Name(kind).removeprefix("OP_KIND_").lower()
                count = sum(columns.kinds[place] == kind for place in denied)
                details = {"table": columns.table, "ops": count}
                caller.audit.note_refused(str(caller.identity), verb, details)
        told = partial(_told_of_some, told, positions)
        columns = _at(columns, positions)
    if any(kind in _AUDITED for kind in kinds - refused.keys()):
        told = partial(_audited, caller, columns, told)
    busy = any(why.status is OutcomeStatus.OVERLOADED for why in refused.values())
    return Admitted(columns, told, RETRY_S if busy else 0.0)


def _refusal(caller: Caller, kind: int, table: str) -> Outcome | None:
    right = _RIGHTS.get(kind)
    if right is None:
        return None
    if not caller.grant.may(right, table):
        detail = f"{caller.identity} has no right to {right.value} in table {table!r}"
        return Outcome(OutcomeStatus.PERMISSION_DENIED, None, detail)
    if kind in _AUDITED and caller.audit.refusal:
        return Outcome(OutcomeStatus.OVERLOADED, None, caller.audit.refusal)
    return None


def _at(columns: OpColumns, positions: Sequence[int]) -> OpColumns:
    """The ops at these positions."""
    table, client_id, *fields = columns
    some: list[Any] = [[field[place] for place in positions] for field in fields]
    return OpColumns(table, client_id, *some)


def _told_of_some(
    told: Told, positions: Sequence[int], some: Sequence[int], outcomes: Sequence[Outcome]
) -> None:
    told([positions[place] for place in some], outcomes)


def _audited(
    caller: Caller,
    columns: OpColumns,
    told: Told,
    positions: Sequence[int],
    outcomes: Sequence[Outcome],
) -> None:
    for place, outcome in zip(positions, outcomes, strict=True):
        act = _AUDITED.get(columns.kinds[place])
        if act is not None:
            details = _in_words(columns, place, outcome)
            caller.audit.note(str(caller.identity), act, outcome.status.name, details)
    told(positions, outcomes)


def _in_words(columns: OpColumns, place: int, outcome: Outcome) -> dict[str, Any]:
    words: dict[str, Any] = {"table": columns.table, "key": columns.keys[place]}
    if columns.units[place]:
        words["to"] = columns.units[place]
    words["version"] = columns.versions[place]
    if outcome.binding is not None:
        unit, version, revision, _ = outcome.binding
        words["now"] = {"unit": unit, "version": version, "revision": revision}
    return words
