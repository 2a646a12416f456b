"""Of a schedule that fails, the least that still does: for a person to read.

Delta debugging (Zeller & Hildebrandt 2002) on the faults, then each simplification of the rest in
turn, until none is left that fails. A simpler schedule may fail in another way: it is a failure all
the same, and shown as what it is.
"""

from collections.abc import Callable, Iterator
from typing import Final

from tests.simulation.schedule import Fault, Schedule
from tests.simulation.world import Result, run

RUNS_MAX: Final = 400
_SHORT_S: Final = 0.1


def shrink(
    schedule: Schedule, fails: Callable[[Schedule], bool] | None = None, runs_max: int = RUNS_MAX
) -> Schedule:
    """The least schedule found within `runs_max` runs; `schedule` must fail."""
    search = _Search(fails or _violates, runs_max)
    before: Schedule | None = None
    while schedule != before:
        before = schedule
        schedule = search.least_faults(schedule)
        for simpler in _simplifications:
            schedule = search.least(schedule, simpler)
    return schedule


def _violates(schedule: Schedule) -> bool:
    result: Result = run(schedule)
    return result.violation is not None


class _Search:
    def __init__(self, fails: Callable[[Schedule], bool], runs_max: int) -> None:
        self._fails = fails
        self._known: dict[Schedule, bool] = {}
        self._runs_left = runs_max

    def _still_fails(self, schedule: Schedule) -> bool:
        if schedule not in self._known:
            if self._runs_left == 0:
                return False
            self._runs_left -= 1
            self._known[schedule] = self._fails(schedule)
        return self._known[schedule]

    def least_faults(self, schedule: Schedule) -> Schedule:
        size = max(1, len(schedule.faults) // 2)
        while True:
            for start in range(0, len(schedule.faults), size):
                rest = schedule.faults[:start] + schedule.faults[start + size :]
                if self._still_fails(fewer := schedule._replace(faults=rest)):
                    schedule = fewer
                    break
            else:
                if size == 1:
                    return schedule
                size //= 2

    def least(
        self, schedule: Schedule, simpler: Callable[[Schedule], Iterator[Schedule]]
    ) -> Schedule:
        for candidate in simpler(schedule):
            if candidate != schedule and self._still_fails(candidate):
                return candidate
        return schedule


def _three_nodes(schedule: Schedule) -> Iterator[Schedule]:
    if not schedule.changes:
        yield schedule._replace(nodes=3)


def _fewer_changes(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule._replace(changes=())
    for place in range(len(schedule.changes)):
        rest = schedule.changes[:place] + schedule.changes[place + 1 :]
        yield schedule._replace(changes=rest)


def _fewer_moves(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule._replace(moves=(), added=0)
    for place in range(len(schedule.moves)):
        yield schedule._replace(moves=schedule.moves[:place] + schedule.moves[place + 1 :])


def _one_group(schedule: Schedule) -> Iterator[Schedule]:
    if not schedule.moves:
        yield schedule._replace(groups=1)


def _ruly(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule._replace(unruly=False)


def _no_rivals(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule._replace(rivals=False)


def _true_clocks(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule._replace(drift=0.0)


def _fewer_clients(schedule: Schedule) -> Iterator[Schedule]:
    for clients in range(1, schedule.clients):
        yield schedule._replace(clients=clients)


def _shorter_faults(schedule: Schedule) -> Iterator[Schedule]:
    for place, fault in enumerate(schedule.faults):
        if fault.seconds > _SHORT_S:
            yield _with_fault(schedule, place, fault._replace(seconds=_SHORT_S))


def _named_nodes(schedule: Schedule) -> Iterator[Schedule]:
    """The leader by its name, where it is always the same."""
    for place, fault in enumerate(schedule.faults):
        for node in range(schedule.nodes) if fault.node < 0 else ():
            yield _with_fault(schedule, place, fault._replace(node=node))


def _with_fault(schedule: Schedule, place: int, fault: Fault) -> Schedule:
    faults = list(schedule.faults)
    faults[place] = fault
    return schedule._replace(faults=tuple(faults))


_simplifications: Final = (
    _fewer_changes,
    _fewer_moves,
    _three_nodes,
    _one_group,
    _ruly,
    _no_rivals,
    _true_clocks,
    _fewer_clients,
    _shorter_faults,
    _named_nodes,
)
