"""The definition of linearizability, tried out literally: what the checker is compared with.

No list, no memory, no shortcut: every order of every choice of the ops that may have happened.
For a handful of ops.
"""

from collections.abc import Sequence

from tests.faults.history import Event, Kind
from tests.faults.linearizability import Timed
from tests.faults.register import Demand, State, apply, demand_of, timed


def explainable(events: Sequence[Event]) -> bool:
    """Whether some order explains the events of one key. Local reads may look back any time."""
    ops = []
    for event in events:
        demand = demand_of(event)
        if demand is not None:
            op = timed(event, demand)
            ops.append(op._replace(invoked=-1) if event.kind is Kind.LOCAL_GET else op)
    return _can_go_on(State(), ops)


def _can_go_on(state: State, left: Sequence[Timed[Demand]]) -> bool:
    if all(op.returned is None for op in left):
        return True
    for position, (op, invoked, _) in enumerate(left):
        if any(other.returned is not None and other.returned < invoked for other in left):
            continue
        after, answer = apply(state, op.kind, op.unit, op.version)
        others = [*left[:position], *left[position + 1 :]]
        if op.answer in (None, answer) and _can_go_on(after, others):
            return True
    return False
