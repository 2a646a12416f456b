"""A leader is lost while everybody writes: how long until writes go on, and what is its return?

Of each trial: every group has a caller in each region that stays. The victim is killed (SIGKILL) or
cut off, later started or joined again, and leadership goes back to it by itself. Every op of the
trial is written down, so that what failed, and when, is known and not sampled.
"""

import itertools
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from globaltable.bench import workers
from globaltable.bench.activities.traced import Traced
from globaltable.bench.findings import Findings, Trace
from globaltable.bench.network import Network
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import CannotMeasure, Scenario, Stage
from globaltable.bench.systems.globaltable import GlobalTableRunning, GlobalTableSystem

NAME: Final = "failover"
KILL: Final = "kill"
CUT: Final = "cut"
BEFORE_S: Final = 1.0
AWAY_S: Final = 3.0
AFTER_S: Final = 0.5
_RETURN_TIMEOUT_S: Final = 30.0
_PATIENCE_S: Final = 30.0
_KEYS_PER_LANE: Final = 3_000
_BIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Loss:
    """What is done to a region, and undone."""

    kind: str
    victim: str
    network: Network
    running: GlobalTableRunning

    def begin(self) -> None:
        if self.kind == KILL:
            self.running.cluster.kill(self.victim)
        else:
            for other in self._others():
                self.network.cut(self.victim, other)

    def end(self) -> None:
        if self.kind == KILL:
            self.running.cluster.start(self.victim)
        else:
            for other in self._others():
                self.network.heal(self.victim, other)

    def _others(self) -> list[str]:
        return [region for region in self.network.regions if region != self.victim]


@dataclass(frozen=True, slots=True)
class Times:
    """Moments of a trial, of CLOCK_MONOTONIC."""

    lost_s: float
    joined_s: float
    returned_s: float


def play(stage: Stage, loss: Loss) -> tuple[Findings, Times, frozenset[str]]:
    """One trial: what the callers saw, when, and the lanes of the groups that the victim led."""
    running, victim = loss.running, loss.victim
    running.wait_led_where_preferred(_RETURN_TIMEOUT_S)
    led = frozenset(str(g) for g, region in running.leaders(victim).items() if region == victim)
    staying = [region for region in stage.network.regions if region != victim]
    placements = []
    for region in staying:
        prefix = stage.label(region)
        lanes = {
            str(group): running.keys_of(group, f"{prefix}:{group}", _KEYS_PER_LANE)
            for group in running.groups
        }
        placements.append(workers.Placement(region, running.target(region), Traced(lanes)))
    with workers.team(stage.network, stage.label("trial"), placements) as team:
        team.go()
        time.sleep(max(0.0, team.start_s - time.monotonic()) + BEFORE_S)
        loss.begin()
        lost_s = time.monotonic()
        try:
            time.sleep(AWAY_S)
        finally:
            joined_s = time.monotonic()
            loss.end()
        returned_s = running.wait_led_where_preferred(_RETURN_TIMEOUT_S)
        time.sleep(AFTER_S)
        team.stop()
        found = team.findings(_PATIENCE_S)
    return Findings.total(list(found.values())), Times(lost_s, joined_s, returned_s), led


def resumed_s(traces: Sequence[Trace], lanes: frozenset[str], lost_s: float) -> float:
    """From the loss until each of these lanes had a write acknowledged that began after it.

    `inf` if one never had: the caller's writes all failed.
    """
    first: dict[str, float] = dict.fromkeys(lanes, float("inf"))
    for trace in traces:
        if trace.lane in first and trace.done and trace.began_s > lost_s:
            first[trace.lane] = min(first[trace.lane], trace.ended_s - lost_s)
    return max(first.values(), default=0.0)


def around(traces: Sequence[Trace], lost_s: float) -> list[tuple[float, float]]:
    """Binds a second, by seconds from the loss (before it below zero)."""
    bins = Counter(int((t.ended_s - lost_s) // _BIN_S) for t in traces if t.done)
    if not bins:
        return []
    return [(round(n * _BIN_S, 6), bins[n] / _BIN_S) for n in range(min(bins), max(bins) + 1)]


def figures(found: Findings, times: Times, led: frozenset[str]) -> dict[str, float]:
    traces = found.traces
    others = frozenset(trace.lane for trace in traces) - led
    failed = [trace for trace in traces if not trace.done]
    return {
        "resumed_s": resumed_s(traces, led, times.lost_s),
        "resumed_others_s": resumed_s(traces, others, times.lost_s),
        "led_groups": float(len(led)),
        "returned_s": times.returned_s - times.joined_s,
        "joined_s": times.joined_s - times.lost_s,
        "failed": float(len(failed)),
        "failed_while_returning": float(sum(t.ended_s > times.joined_s for t in failed)),
        "longest_while_returning_ms": 1_000
        * max((t.ended_s - t.began_s for t in traces if t.began_s > times.joined_s), default=0.0),
        "binds_per_s_before": statistics.median(
            [rate for at_s, rate in around(traces, times.lost_s) if at_s < -_BIN_S] or [0.0]
        ),
    }


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    system = GlobalTableSystem()
    kinds = [KILL, CUT] if options.loss == "both" else [options.loss]
    unable = stage.network.kind != "namespaces"
    with system.start(stage.network) as running:
        for kind in kinds:
            if kind == CUT and unable:
                continue
            victims = itertools.cycle(stage.network.regions)
            for trial in range(options.trials):
                victim = next(victims)
                stage.say(f"{NAME} {trial + 1}/{options.trials}: {kind} {victim}")
                found, times, led = play(stage, Loss(kind, victim, stage.network, running))
                case = {"loss": kind, "victim": victim}
                yield Measurement(
                    NAME,
                    system.name,
                    case,
                    trial,
                    figures(found, times, led),
                    {"answered": found.answered},
                    around(found.traces, times.lost_s),
                )
    if CUT in kinds and unable:
        raise CannotMeasure(f"{NAME}: a cut needs the network of kind namespaces")


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=20, help="of each loss (%(default)s)")
    parser.add_argument("--loss", choices=[KILL, CUT, "both"], default="both", help="(%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "a leader is killed, or cut off: when writes go on, and its leadership's return",
    measure,
    add_options,
    short=("--trials", "3"),
)
