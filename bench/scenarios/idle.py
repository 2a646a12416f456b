"""What crowds that do nothing cost: idle connections, watchers to whom little or nothing happens.

Of each crowd, in turn: the nodes without it, idle and then under a load; then the same with it. So
what it takes of memory and, while nobody asks, of processor time is told for each of its members,
and what it does to an ordinary load as a ratio. Connections are bare HTTP/2 ones, so that they cost
this machine little more than what they cost nodes; watches are the client library's, all of a
region over one connection.
"""

import contextlib
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from globaltable.bench import workers
from globaltable.bench.activities.idle_connections import IdleConnections
from globaltable.bench.findings import Findings
from globaltable.bench.processes import cpu_s, memory_mb
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import CannotMeasure, Scenario, Stage
from globaltable.bench.scenarios.throughput import measure_closed
from globaltable.bench.scenarios.watchers import watched
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem

NAME: Final = "idle"
NONE: Final = "none"
CONNECTIONS: Final = "connections"
PREFIXES: Final = "watchers of idle prefixes"
KEYS: Final = "watchers of keys that change rarely"
_QUIET_S: Final = 2.0
"""After a crowd has come or gone, until what that brings with it is over."""
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """By all nodes, while nobody asks."""

    memory_kb: float
    cpu_share: float
    """Of one core."""

    @classmethod
    def measure(cls, running: GlobalTableRunning, seconds: float) -> "_Taken":
        pids = [running.cluster.pid(node) for node in running.cluster.nodes]
        time.sleep(_QUIET_S)
        began_s, before = time.monotonic(), sum(map(cpu_s, pids))
        time.sleep(seconds)
        share = (sum(map(cpu_s, pids)) - before) / (time.monotonic() - began_s)
        return cls(sum(map(memory_mb, pids)) * 1_000, share)

    def each_beyond(self, before: "_Taken", count: int) -> Mapping[str, float]:
        """What nodes keep of a crowd that has gone, the next one need not ask for: its memory is
        told by the first repeat."""
        return {
            "memory_kb_each": (self.memory_kb - before.memory_kb) / count,
            "cpu_us_per_s_each": (self.cpu_share - before.cpu_share) / count * 1e6,
        }


@contextlib.contextmanager
def _connected(stage: Stage, running: GlobalTableRunning, count: int) -> Iterator[None]:
    """With so many connections, shared out over the regions; all of them were served."""
    regions = stage.network.regions
    placements = []
    for number, region in enumerate(regions):
        target = running.target(region)
        share = count // len(regions) + (number < count % len(regions))
        activity = IdleConnections(share, list(target.addresses))
        placements.append(workers.Placement(region, target, activity))
    with workers.team(stage.network, stage.label("idle"), placements) as team:
        team.go()
        yield
        team.stop()
        served = Findings.total(list(team.findings(_PATIENCE_S).values())).answers
        if served != count:
            raise CannotMeasure(
                f"{NAME}: {served} of {count} connections were made; each needs an open file here "
                "(ulimit -n)"
            )


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    system = GlobalTableSystem()

    def crowd(running: GlobalTableRunning, what: str, count: int) -> AbstractContextManager[None]:
        if what == CONNECTIONS:
            return _connected(stage, running, count)
        prefixes = what == PREFIXES
        changes_per_s = 0.0 if prefixes else options.changes
        return watched(stage, running, count, prefixes=prefixes, changes_per_s=changes_per_s)

    def load(running: GlobalTableRunning, repeat: int, what: str, beside: str) -> Measurement:
        one = measure_closed(
            stage, NAME, system.name, running, repeat, options.callers, options.seconds
        )
        return replace(one, case={**one.case, "crowd": what, "beside": beside})

    with system.start(stage.network) as running:
        running.wait_led_where_preferred(_PATIENCE_S)
        crowds = {
            CONNECTIONS: options.connections,
            PREFIXES: options.watchers,
            KEYS: options.watchers,
        }
        for what, count in crowds.items():
            for repeat in range(stage.repeats):
                stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: without {what}")
                yield load(running, repeat, NONE, what)
                before = _Taken.measure(running, options.idle_seconds)
                stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {count:,} {what}")
                with crowd(running, what, count):
                    taken = _Taken.measure(running, options.idle_seconds)
                    one = load(running, repeat, what, what)
                each = dict(taken.each_beyond(before, count))
                if repeat:
                    del each["memory_kb_each"]
                yield replace(
                    one, case={**one.case, "count": count}, figures={**one.figures, **each}
                )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--connections", type=int, default=2_000, help="idle (%(default)s)")
    parser.add_argument("--watchers", type=int, default=10_000, help="idle (%(default)s)")
    parser.add_argument(
        "--changes",
        type=float,
        default=2.0,
        help="of watched keys a second, in all, where they change at all (%(default)s)",
    )
    parser.add_argument("--callers", type=int, default=64, help="that bind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (%(default)s)")
    parser.add_argument(
        "--idle-seconds", type=float, default=10.0, help="in which nobody asks (%(default)s)"
    )


SCENARIO: Final = Scenario(
    NAME,
    "memory and processor time of idle connections and watchers, and what they do to a load",
    measure,
    add_options,
    short=("--seconds", "3"),
)
