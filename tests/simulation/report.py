"""A failing run, for a person to read, and the command that repeats it."""

from tests.simulation.schedule import LEADER, NODES, Fault, Schedule, encode
from tests.simulation.world import Result


def report(schedule: Schedule, result: Result, lines: int) -> str:
    """What was violated, by which schedule, and the end of the trace."""
    unruly = "links that lose, repeat and reorder" if schedule.unruly else "ordered links"
    rivals = ", rivals that do not give way" if schedule.rivals else ""
    return "\n".join(
        [
            f"seed {schedule.seed} FAILS: {result.violation}",
            f"{schedule.nodes} nodes, {schedule.groups} groups, {schedule.clients} clients, "
            f"{unruly}, {schedule.delay_s} s apart, {schedule.sync_s} s a sync, clocks off by up "
            f"to {schedule.drift:.0%}{rivals}; {len(schedule.faults)} faults:",
            *(f"  {_tell(fault)}" for fault in schedule.faults),
            f"the last {min(lines, len(result.trace))} lines of its trace:",
            *(f"  {line}" for line in result.trace[-lines:]),
            f"to repeat it: python -m tests.simulation --schedule '{encode(schedule)}'",
        ]
    )


def _tell(fault: Fault) -> str:
    who = "the leader" if fault.node == LEADER else NODES[fault.node % len(NODES)]
    return f"{fault.at:6.3f} s  {fault.kind} at {who}, other {fault.other}, for {fault.seconds} s"
