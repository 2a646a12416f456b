"""A run, for a person to read."""

from typing import Final

from tests.simulation.regions.plan import REGIONS
from tests.simulation.regions.seeds import Ran

TRACE_LINES: Final = 40


def report(ran: Ran) -> str:
    """What was seen; of a run that fails, what is violated and the end of its trace."""
    plan, result, cpu_s = ran
    lost = " and ".join(plan.lost)
    nodes = len(REGIONS) * plan.nodes_per_region
    said = (
        f"seed {plan.seed}: {nodes} nodes, {plan.groups} groups of {plan.replicas}; {lost} "
        f"lose {plan.loss.value}: led again after {result.led_s:.2f} s, leadership back after "
        f"{result.back_s:.2f} s; {result.told} outcomes ({result.unknown} unknown), the slowest "
        f"after {result.slowest_s:.2f} s; {result.reads} reads, {result.changes_seen} changes "
        f"watched, {result.elections} elections, {result.installs} snapshots installed; "
        f"{result.events} events, {result.seconds:.1f} s simulated in {cpu_s:.1f} s"
    )
    if result.violation is None:
        return said
    lines = "\n".join(f"  {line}" for line in result.trace[-TRACE_LINES:])
    return f"{said}\nFAILS: {result.violation}\nthe end of its trace:\n{lines}"
