"""A failing schedule is made as small as it goes, and what is printed of it fails again."""

from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.report import report
from tests.simulation.schedule import Fault, Schedule, decode, draw
from tests.simulation.shrink import shrink
from tests.simulation.world import run

_PAIR = {"crash", "cut"}


def _needs_a_pair(schedule: Schedule) -> bool:
    return {fault.kind for fault in schedule.faults} >= _PAIR and schedule.clients > 1


def test_only_what_is_needed_is_left() -> None:
    noise = tuple(Fault(0.1 * n, "pause", n % 3, 0, 1.0) for n in range(12))
    schedule = draw(3)._replace(
        nodes=5,
        groups=2,
        clients=4,
        unruly=True,
        faults=(
            *noise[:5],
            Fault(0.7, "cut", -1, 1, 1.0),
            *noise[5:],
            Fault(1.5, "crash", 2, 0, 1.0),
        ),
    )
    least = shrink(schedule, _needs_a_pair)
    assert [fault.kind for fault in least.faults] == ["cut", "crash"]
    assert (least.nodes, least.groups, least.clients, least.unruly) == (3, 1, 2, False)
    assert all(fault.seconds < 1.0 for fault in least.faults)


def test_the_runs_it_takes_are_bounded() -> None:
    tried: list[Schedule] = []

    def fails(schedule: Schedule) -> bool:
        tried.append(schedule)
        return False

    faults = tuple(Fault(0.1 * n, "pause", 0, 0, 1.0) for n in range(9))
    shrink(draw(3)._replace(faults=faults), fails, runs_max=7)
    assert len(tried) == 7


def test_what_is_printed_repeats_the_failure() -> None:
    with applied(MUTANTS["no tombstone"]):
        least = shrink(draw(0), runs_max=40)
        result = run(least)
        assert result.violation is not None
        printed = report(least, result, 10)
        again = run(decode(printed.rpartition("--schedule '")[2].rstrip("'")))
    assert least.faults == ()
    assert (again.violation, again.digest) == (result.violation, result.digest)
