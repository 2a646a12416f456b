"""One run: start, load, the loss of a region, its return, and the end."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Any, Final, NamedTuple

from globaltable.members import Members
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.config import Timeouts
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.status import topology_response
from globaltable.topology import Group, Node, Topology, spread
from globaltable.v1 import globaltable_pb2 as pb
from tests.simulation.checks import Checks, Violation
from tests.simulation.network import Network
from tests.simulation.node import Life, SimNode
from tests.simulation.regions.callers import TIMEOUT_S, RegionCaller, asking
from tests.simulation.regions.plan import REGIONS, Loss, Plan
from tests.simulation.regions.readers import Reader
from tests.simulation.timeline import Timeline
from tests.simulation.watching import Watching
from tests.simulation.world import describe, without_collector

LED_S_MAX: Final = 3.0
"""From the start, or from the loss of a region, until every group has a leader that commits."""
BACK_S_MAX: Final = 8.0
"""From the region's return until every group is led where it is to be."""
RECOVERED_S_MAX: Final = 20.0
"""From the end of the load until all replicas are equal, and watchers have seen everything."""
WATCHERS: Final = 6
TRACE_LINES: Final = 300
_LOOK_S: Final = 0.05
_LOCAL_DELAY_S: Final = 0.0002
_CONNECTION_LOST_S: Final = (0.3, 1.5)
"""When the ends of a connection whose link was cut notice."""
_PAUSE_S: Final = 0.04
_EVENTS_MAX: Final = 20_000_000

LIMITS: Final = ReplicaLimits(pending_ops=256, log_entries=12, log_bytes=1 << 20)
"""Logs are short, so that a region that returns is caught up by snapshots as well as by entries."""


class Result(NamedTuple):
    seed: int
    violation: str | None
    trace: list[str]
    events: int
    seconds: float
    """Simulated."""
    told: int
    """Outcomes."""
    unknown: int
    """Calls of which nobody can say what became of them."""
    slowest_s: float
    """The call that took longest, of those that a majority was there for."""
    reads: int
    changes_seen: int
    installs: int
    """Of snapshots."""
    elections: int
    led_s: float
    """After the loss, until the last group was led again."""
    back_s: float
    """After the return, until the last group was led where it is to be."""


def _nodes(per_region: int) -> Iterator[Node]:
    for region, number in product(REGIONS, range(1, per_region + 1)):
        yield Node(f"{region}-{number}", region, client=f"{region}-{number}:1")


class RegionsWorld:
    """All of one run."""

    def __init__(self, plan: Plan) -> None:
        self.schedule = plan
        self.timeline = Timeline(_EVENTS_MAX)
        self._began = self.timeline.now
        self._rng = random.Random(f"regions world {plan.seed}")
        self._trace: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=TRACE_LINES)
        elections = Timeouts()
        self.timing = Timing(plan.heartbeat_s, elections.election_min_s, elections.election_max_s)
        self.limits = LIMITS
        self.checks = Checks(LIMITS)
        self.rebuilds = 0
        self.reads = 0
        self.topology: Topology = spread(
            "simulated", list(_nodes(plan.nodes_per_region)), plan.groups, plan.replicas
        )
        for group in self.topology.groups:
            self.checks.members[group.number] = Members(group.replicas)
        self._one_way_s = {
            frozenset(pair): plan.delay_s * (0.5 + self._rng.random())
            for pair in combinations(REGIONS, 2)
        }
        names = [node.name for node in self.topology.nodes]
        self.network = Network(names, random.Random(f"network {plan.seed}"), self.timeline)
        region_of = self.topology.region_of
        for a, b in combinations(names, 2):
            one_way_s = self.one_way_s(region_of[a], region_of[b])
            self.network.set_delay(a, b, one_way_s or _LOCAL_DELAY_S)
        self.nodes = {name: SimNode(self, name) for name in names}
        for name, node in self.nodes.items():
            self.network.join(name, node)
        how = asking(plan.groups, _PAUSE_S)
        self.libraries = [
            RegionCaller(self, number, region, how)
            for number, region in enumerate(REGIONS * plan.callers_per_region)
        ]
        self._reader = Reader(self)
        watched = self._rng.sample(self.topology.groups, WATCHERS)
        self._watchers = [
            Watching(self, number, [group.number], group.holders)
            for number, group in enumerate(watched)
        ]
        self._lost = False
        self._lost_at = self._returned_at = float("inf")

    # --- what is around nodes and callers --------------------------------------------------------

    def note(self, who: str, what: str, *details: Any) -> None:
        self._trace.append((self.timeline.now, (who, what, *details)))

    def topology_answer(self, life: Life, request: bytes) -> bytes:
        asked = pb.TopologyRequest.FromString(request)
        core = life.core
        known = (asked.known_version, asked.known_moves)
        claims = SlotClaims()
        response = topology_response(core.topology, claims, core.node, asked.table, known)
        return response.SerializeToString()

    def one_way_s(self, a: str, b: str) -> float:
        """Between two regions; 0 within one."""
        return self._one_way_s.get(frozenset((a, b)), 0.0)

    def joined(self, a: str, b: str) -> bool:
        """Whether anything comes through from one region to another."""
        return a == b or not (self._lost and {a, b} & {*self.schedule.lost})

    def has_power(self, region: str) -> bool:
        plan = self.schedule
        return not (self._lost and plan.loss is Loss.POWER and region in plan.lost)

    def owes(self, region: str, asked_at: float) -> bool:
        """Whether a caller in a region was owed an outcome in time: not if its region was lost
        before the call's deadline."""
        within = self._lost_at - TIMEOUT_S <= asked_at <= self._returned_at
        return not (region in self.schedule.lost and within)

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> Result:
        violation: str | None = None
        led_s = back_s = 0.0
        with without_collector():
            try:
                led_s, back_s = self._run()
            except Exception as error:
                violation = describe(error)
        callers = [c for c in self.libraries if c.region not in self.schedule.lost]
        return Result(
            self.schedule.seed,
            violation,
            [f"{at:9.4f} {' '.join(map(str, line))}" for at, line in self._trace],
            self.timeline.events,
            self.timeline.now - self._began,
            self.checks.told,
            sum(caller.unknown for caller in self.libraries),
            max(caller.slowest_s for caller in callers),
            self.reads,
            sum(watcher.seen for watcher in self._watchers),
            self.checks.installs,
            self.checks.elections,
            led_s,
            back_s,
        )

    def _run(self) -> tuple[float, float]:
        plan = self.schedule
        for node in self.nodes.values():
            node.start()
        self._within(LED_S_MAX, self._leaderless, "groups are not led after the start")
        load_until = self.timeline.now + plan.settle_s + plan.away_s + plan.load_on_s
        for caller in self.libraries:
            caller.start(load_until)
        self._reader.start(load_until)
        for watcher in self._watchers:
            watcher.start()
        self.timeline.run_until(self.timeline.now + plan.settle_s)
        self._lose()
        lost = " and ".join(plan.lost)
        led_s = self._within(LED_S_MAX, self._leaderless, f"groups are not led without {lost}")
        self.timeline.run_until(self._lost_at + plan.away_s)
        self._return()
        back_s = self._within(
            BACK_S_MAX, self._led_elsewhere, "groups are led where they should not be"
        )
        self.timeline.run_until(max(self.timeline.now, load_until))
        self._within(RECOVERED_S_MAX, self._unequal, "not recovered")
        self.checks.ops_told_not_to_have_happened()
        return led_s, back_s

    def _within(self, seconds: float, missing: Callable[[], list[str]], what: str) -> float:
        """Run until nothing is missing; how long it took."""
        began = self.timeline.now
        while lacking := missing():
            if self.timeline.now - began > seconds:
                few = ", ".join(lacking[:8])
                raise Violation(f"{what} after {seconds} s: {len(lacking)}, among them {few}")
            self.timeline.run_until(self.timeline.now + _LOOK_S)
        return self.timeline.now - began

    # --- loss and return -------------------------------------------------------------------------

    def _border(self) -> Iterator[tuple[str, str]]:
        """The pairs of nodes whose link is lost with a region."""
        region_of, lost = self.topology.region_of, self.schedule.lost
        for a, b in combinations(self.nodes, 2):
            if region_of[a] != region_of[b] and {region_of[a], region_of[b]} & {*lost}:
                yield a, b

    def _lose(self) -> None:
        plan = self.schedule
        self._lost, self._lost_at = True, self.timeline.now
        self.note("regions", *plan.lost, "lose", plan.loss.value)
        if plan.loss is Loss.POWER:
            for name, node in self.nodes.items():
                if self.topology.region_of[name] in plan.lost:
                    node.down_s = plan.away_s + self._rng.random()
                    node.crash()
            return
        for a, b in self._border():
            self.network.cut(a, b)
            self.network.cut(b, a)
            self.timeline.after(self._rng.uniform(*_CONNECTION_LOST_S), self.network.reset, a, b)
        for caller in self.libraries:
            caller.cut_off()

    def _return(self) -> None:
        self._lost, self._returned_at = False, self.timeline.now
        self.note("regions", *self.schedule.lost, "return")
        if self.schedule.loss is Loss.LINKS:
            for a, b in self._border():
                self.network.heal(a, b)
                self.network.heal(b, a)

    # --- what is missing -------------------------------------------------------------------------

    def _leader_of(self, group: Group) -> str | None:
        """Who leads a group and has committed in its term, outside of a region that is lost."""
        leaders = {}
        for name in group.replicas:
            core = self.nodes[name].core
            lost = self._lost and self.topology.region_of[name] in self.schedule.lost
            if core is None or lost or group.number not in core.replicas:
                continue
            guard = core.replicas[group.number].guard
            if core.replicas[group.number].is_leader and (
                guard.journal.term_at(guard.commit_index) == guard.term
            ):
                leaders[guard.term] = name
        return leaders[max(leaders)] if leaders else None

    def _leaderless(self) -> list[str]:
        return [f"group {g.number}" for g in self.topology.groups if self._leader_of(g) is None]

    def _led_elsewhere(self) -> list[str]:
        leaders = {group: self._leader_of(group) for group in self.topology.groups}
        return [
            f"group {group.number} by {leader}"
            for group, leader in leaders.items()
            if leader != group.preferred
        ]

    def _unequal(self) -> list[str]:
        lacking = [f"caller {c.number}" for c in self.libraries if not c.idle]
        for group in self.topology.groups:
            for name in group.holders:
                core = self.nodes[name].core
                if (
                    core is None
                    or core.refusal(group.number)
                    or core.replicas[group.number].table.applied
                    < self.checks.model(group.number).last
                ):
                    lacking.append(f"group {group.number} on {name}")
        if lacking:
            return lacking
        for group in self.topology.groups:
            for name in group.holders:
                core = self.nodes[name].core
                assert core is not None, "it was there a moment ago"
                self.checks.recovered(name, group.number, core.replicas[group.number])
        return [f"watcher {n}" for n, w in enumerate(self._watchers) if not w.has_seen_all]


def run(plan: Plan) -> Result:
    """One run of a plan, from its start to its end or its first violation."""
    return RegionsWorld(plan).run()
