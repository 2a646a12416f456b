"""The scenarios, in the order in which `all` plays them and the report shows them."""

from typing import Final

from globaltable.bench.scenarios import (
    backup,
    commit_latency,
    compare,
    contention,
    create_latency,
    failover,
    growth,
    idle,
    nodes,
    overload,
    reads,
    throughput,
    watchers,
)
from globaltable.bench.scenarios.scenario import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (
    commit_latency.SCENARIO,
    create_latency.SCENARIO,
    throughput.SCENARIO,
    nodes.SCENARIO,
    compare.SCENARIO,
    contention.SCENARIO,
    failover.SCENARIO,
    reads.SCENARIO,
    watchers.SCENARIO,
    idle.SCENARIO,
    overload.SCENARIO,
    growth.SCENARIO,
    backup.SCENARIO,
)
