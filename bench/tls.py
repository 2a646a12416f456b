"""What TLS and permissions cost: the same nodes and load in the clear and with them, in turn.

Ratios of one run are what it is for: both share whatever else the machine does. With TLS every
link is encrypted, every request asked who makes it, and every op whether it may.
"""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from statistics import median
from typing import Final

from globaltable.bench.network import open_network
from globaltable.bench.round_trips import RoundTrips
from globaltable.bench.scenarios.scenario import Stage
from globaltable.bench.scenarios.throughput import measure_closed
from globaltable.bench.systems.globaltable import CLIENT_NAME, TABLE, GlobalTableSystem
from globaltable.server.security import Permission, Right, Security
from globaltable.testing import LocalCluster

SECURITY: Final = Security(
    permissions=(Permission((CLIENT_NAME,), frozenset((Right.READ, Right.BIND)), (TABLE,)),)
)
CALLERS: Final = (1, 256, 1_024)
FIGURES: Final = ("binds_per_s", "p50_ms", "p99_ms", "node_cpu_us_per_bind")
SYSTEMS: Final = {
    "clear": GlobalTableSystem(),
    "tls": GlobalTableSystem(secure=SECURITY),
}
_REGIONS: Final = ("a", "b", "c")


def measure(repeats: int, seconds: float, round_trip_ms: float) -> dict[str, dict[str, float]]:
    """By figure, what it is in the clear and with TLS: medians over the repeats."""
    found: dict[str, dict[str, list[float]]] = {}
    round_trips = RoundTrips(round_trip_ms, {})
    with open_network(_REGIONS, round_trips, "injected") as network:
        stage = Stage(network, repeats, lambda what: print(f"  {what}", file=sys.stderr))
        for repeat in range(repeats):
            for name, system in SYSTEMS.items():
                with system.start(network) as running:
                    for callers in CALLERS:
                        stage.say(f"{repeat + 1}/{repeats} {name}: {callers} callers")
                        before_s = _cpu_s(running.cluster)
                        one = measure_closed(stage, "tls", name, running, repeat, callers, seconds)
                        spent_s = _cpu_s(running.cluster) - before_s
                        answered = sum(each.count for each in one.latencies.values())
                        figures = {
                            **one.figures,
                            "node_cpu_us_per_bind": 1e6 * spent_s / answered,
                        }
                        for figure in FIGURES:
                            row = found.setdefault(f"{callers:,} callers: {figure}", {})
                            row.setdefault(name, []).append(figures[figure])
    return {
        figure: {name: median(values) for name, values in row.items()}
        for figure, row in found.items()
    }


def _cpu_s(cluster: LocalCluster) -> float:
    """What all nodes have used of the processors. It says more than times do of a busy machine."""
    ticks = 0
    for node in cluster.nodes:
        # The command in parentheses may hold blanks; of what follows it, fields 11 and 12 are those
        # of user and system time.
        fields = Path(f"/proc/{cluster.pid(node)}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = ArgumentParser(prog="python -m globaltable.bench.tls", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="medians over (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (%(default)s)")
    parser.add_argument("--round-trip-ms", type=float, default=10.0, help="injected (%(default)s)")
    options = parser.parse_args()
    figures = measure(options.repeats, options.seconds, options.round_trip_ms)
    print(f"{'':40}{'clear':>12}{'TLS':>12}{'ratio':>8}")
    for figure, row in figures.items():
        clear, tls = row["clear"], row["tls"]
        print(f"{figure:40}{clear:12,.1f}{tls:12,.1f}{tls / clear:8.2f}")


if __name__ == "__main__":
    main()
