"""One run: nodes, links, callers and watchers on one timeline, and the faults of a schedule."""

import gc
import hashlib
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any, Final, NamedTuple

from globaltable import history, limits, slot_history, slot_moves, slot_rows
from globaltable.client._lanes import WriteLane
from globaltable.errors import StorageError
from globaltable.holdings import HoldingState
from globaltable.members import Members
from globaltable.raft import guard, progress
from globaltable.raft.elections import Elections
from globaltable.topology import Topology, one_node_each, spread
from tests.simulation.checks import Checks, Violation
from tests.simulation.clients import KEYS, Attempt, Client
from tests.simulation.faults import KINDS, heal
from tests.simulation.key_watching import KeyWatching
from tests.simulation.library import LibraryClient
from tests.simulation.model import SLOTS
from tests.simulation.moving import MOVERS, Mover
from tests.simulation.network import Network
from tests.simulation.node import LIMITS, TIMING, Life, SimNode
from tests.simulation.schedule import (
    FAULT_SECONDS,
    LEADER,
    NODES,
    Change,
    Fault,
    Schedule,
    SlotMove,
)
from tests.simulation.timeline import Timeline
from tests.simulation.watching import Watching

SMALL_LIMITS: Final[tuple[tuple[ModuleType | type, str, int], ...]] = (
    (history, "HISTORY_OPS_MAX", 400),
    (limits, "BATCH_OPS_MAX", 4),
    (WriteLane, "weight_max", 4),
    (limits, "APPEND_BYTES_MAX", 512),
    (progress, "IN_FLIGHT_BYTES_MAX", 2_048),
    (guard, "UNCOMMITTED_ENTRIES_MAX", 24),
    (slot_moves, "COPY_ROWS_MAX", 2),
    (slot_moves, "COPY_OPS_MAX", 5),
    (slot_history, "READ_OPS_AT_ONCE", 30),
    (slot_moves, "BEHIND_ROWS_MAX", 1),
    (slot_rows, "DROP_ROWS_MAX", 2),
)
"""Instead of production's bounds, so that every one of them is met: histories forget, appends are
split, windows fill."""
LIBRARIES: Final = 1
WATCHERS: Final = 2
RECOVERY_S: Final = 30.0
TRACE_LINES: Final = 300


class Result(NamedTuple):
    seed: int
    violation: str | None
    trace: list[str]
    digest: str
    events: int
    seconds: float
    """Simulated."""
    told: int
    """Outcomes."""
    changes_seen: int
    """By watchers."""
    installs: int
    """Of snapshots."""
    elections: int
    rebuilds: int
    """Of replicas."""
    member_changes: int
    """Steps of a group that were committed."""
    slot_moves: int
    """Slots that came to be held by another group."""
    reclaims: int
    """Slots that were released and taken back."""
    keys_followed: int
    """By watchers, into another group."""


class World:
    """All of one run."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.timeline = Timeline()
        self._began = self.timeline.now
        self.rng = random.Random(f"world {schedule.seed}")
        self._digest = hashlib.blake2b(digest_size=16)
        self._trace: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=TRACE_LINES)
        self.checks = Checks(LIMITS)
        self.timing, self.limits = TIMING, LIMITS
        self.rebuilds = 0
        self.attempts: list[Attempt] = []
        """All that processes have got."""
        founders = list(NODES[: schedule.nodes])
        names = list(NODES[: schedule.nodes + schedule.spares])
        self.topology = _topology(schedule, founders)
        self.wanted = Members(tuple(founders))
        """The members that every group is to have."""
        self._changes = 0
        for group in self.topology.groups:
            number = group.number
            self.checks.members[number] = self.wanted
            self.checks.deals[number] = self.topology.deal_of(number)
        self.wanted_groups: dict[int, int] = {}
        """By slot that is to be moved, where it is to be in the end."""
        self.network = Network(names, random.Random(f"network {schedule.seed}"), self.timeline)
        self.network.unruly = schedule.unruly
        for a in names:
            for b in names:
                if a < b:
                    self.network.set_delay(a, b, schedule.delay_s * (0.3 + self.rng.random()))
        self.nodes = {name: SimNode(self, name) for name in names}
        for name, node in self.nodes.items():
            self.network.join(name, node)
            node.clock_rate = 1 + schedule.drift * (2 * self.rng.random() - 1)
        self.clients = [Client(self, number) for number in range(schedule.clients)]
        self.movers = [Mover(self, number) for number in range(MOVERS if schedule.moves else 0)]
        # How the library follows a slot is for the tests of its own to say.
        libraries = 0 if schedule.moves else LIBRARIES
        self.libraries = [LibraryClient(self, number) for number in range(libraries)]
        groups = [group.number for group in self.topology.groups]
        self._watchers = [Watching(self, number, groups, names) for number in range(WATCHERS)]
        keys = KEYS if schedule.moves else ()
        self._key_watchers = [KeyWatching(self, number, key) for number, key in enumerate(keys)]

    def note(self, who: str, what: str, *details: Any) -> None:
        """A line of the trace. All of them make the digest; the last ones are kept."""
        line = (who, what, *details)
        self._trace.append((self.timeline.now, line))
        self._digest.update(repr((self.timeline.now, line)).encode())

    def topology_answer(self, life: Life, request: bytes) -> bytes:
        """Nothing: members change here without a new topology."""
        return b""

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> Result:
        violation: str | None = None
        with _small_limits(), _rivals(self.schedule.rivals), without_collector():
            try:
                self._run()
            except Exception as error:
                violation = describe(error)
        return Result(
            self.schedule.seed,
            violation,
            [f"{at:9.4f} {' '.join(map(str, line))}" for at, line in self._trace],
            self._digest.hexdigest(),
            self.timeline.events,
            self.timeline.now - self._began,
            self.checks.told,
            sum(watcher.seen for watcher in self._watchers),
            self.checks.installs,
            self.checks.elections,
            self.rebuilds,
            self.checks.member_changes,
            self.checks.adoptions,
            self.checks.reclaims,
            sum(watcher.followed for watcher in self._key_watchers),
        )

    def _run(self) -> None:
        end_of_faults = self._began + FAULT_SECONDS
        for node in self.nodes.values():
            node.start()
        for client in self.clients:
            client.start(end_of_faults)
        for library in self.libraries:
            library.start(end_of_faults)
        for watcher in self._watchers:
            watcher.start()
        for watcher_of_key in self._key_watchers:
            watcher_of_key.start()
        for mover in self.movers:
            mover.start()
        for move in self.schedule.moves:
            self.timeline.after(move.at, self._move_slot, move)
        for change in self.schedule.changes:
            self.timeline.after(change.at, self._change_members, change)
        for fault in self.schedule.faults:
            self.timeline.after(fault.at, self._begin_fault, fault)
        self.timeline.run_until(end_of_faults)
        heal(self)
        self._recover()

    def _begin_fault(self, fault: Fault) -> None:
        names = list(self.nodes)
        name = self._leader() if fault.node == LEADER else names[fault.node % len(names)]
        others = [other for other in names if other != name]
        other = others[fault.other % len(others)]
        self.note("fault", fault.kind, name, other, fault.seconds)
        KINDS[fault.kind](self, self.nodes[name], self.nodes[other], fault)

    def _change_members(self, change: Change) -> None:
        """Nodes hear of it in their own time."""
        self.note("members", "are to be", *change.voters, "and learn", *change.learners)
        self.wanted = Members(change.voters, change.learners)
        self._changes += 1
        for node in self.nodes.values():
            after_s = self.rng.random() * 0.3
            self.timeline.after(after_s, node.told_of_members, self._changes, self.wanted)

    def _move_slot(self, move: SlotMove) -> None:
        """Those who move slots hear of it in their own time."""
        self.note("slot", "is to be", move.slot, "in", move.group)
        self.wanted_groups[move.slot] = move.group
        for mover in self.movers:
            after_s = self.rng.random() * 0.3
            self.timeline.after(after_s, mover.told_where, move.slot, move.group, self.timeline.now)

    @property
    def serving(self) -> list[str]:
        """The nodes that hold every group once all members are as wanted."""
        return [name for name in self.nodes if name in self.wanted]

    def _leader(self) -> str:
        """Who leads the first group; if several believe they do, the latest elected."""
        terms = {
            name: node.core.replicas[0].guard.term if node.core.replicas[0].is_leader else -1
            for name, node in self.nodes.items()
            if node.core is not None and 0 in node.core.replicas
        }
        return max(terms, key=lambda name: terms[name], default="a")

    def cut(self, a: str, b: str, seconds: float) -> None:
        """One way; if it lasts, the connection is given up at some time."""
        self.network.cut(a, b)
        self.timeline.after(seconds, self.network.heal, a, b)
        if seconds > 0.5 and self.rng.random() < 0.7:
            self.timeline.after(0.3 + self.rng.random(), self.network.reset, a, b)

    # --- the end ---------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Liveness: every node's callers are served again, all replicas become equal, and watchers
        have seen everything."""
        end = self.timeline.now + RECOVERY_S
        probe = Client(self, len(self.clients))
        while self.timeline.now < end:
            self.timeline.run_until(self.timeline.now + 0.1)
            if self._all_up() and self._as_wanted() and not probe.probing:
                probe.probe()
            rests = probe.probed and self._idle() and self._all_moved()
            if rests and self._equal() and self._all_seen():
                break
        else:
            raise Violation(f"not recovered {RECOVERY_S} s after the last fault: {self._state()}")
        self.checks.nothing_lost()
        self.checks.ops_told_not_to_have_happened()
        for attempt in self.attempts:
            if attempt.overdue:
                raise Violation(f"nobody was told how {attempt} ended")

    def _all_up(self) -> bool:
        return all(node.core is not None for node in self.nodes.values())

    def _as_wanted(self) -> bool:
        """Every change is complete: all groups have the members that they are to have, each of them
        knows, and nothing is left elsewhere."""
        if not self.schedule.changes:
            return True
        for name, node in self.nodes.items():
            for group in self.topology.groups:
                replica = node.core.replicas.get(group.number) if node.core is not None else None
                if name not in self.wanted:
                    if replica is not None or node.core is None:
                        return False
                elif (
                    replica is None
                    or replica.rebuilding
                    or replica.members != self.wanted
                    or not replica.members_committed
                ):
                    return False
        return True

    def _all_moved(self) -> bool:
        """Every slot is where it is to be, and nothing of it is left anywhere else."""
        for slot, wanted in self.wanted_groups.items():
            for number, model in self.checks.models.items():
                holding = model.holdings.of(slot)
                held = holding.state is HoldingState.HELD
                if held != (number == wanted) or not (held or holding.is_empty):
                    return False
        return True

    def _idle(self) -> bool:
        return all(client.idle for client in self.clients) and all(
            library.idle for library in self.libraries
        )

    def _equal(self) -> bool:
        """All replicas are whole, and hold the same; what is met damaged now is rebuilt first."""
        equal = True
        if not self._as_wanted():
            return False
        for name in self.serving:
            node = self.nodes[name]
            for group in self.topology.groups:
                core, number = node.core, group.number
                if core is None or core.refusal(number):
                    equal = False
                    continue
                try:
                    equal &= self.checks.recovered(name, number, core.replicas[number])
                except StorageError as error:
                    core.fail(number, error)
        return equal

    def _all_seen(self) -> bool:
        return all(watcher.has_seen_all for watcher in self._watchers) and all(
            watcher.has_seen_all for watcher in self._key_watchers
        )

    def _state(self) -> str:
        lines = [
            f"clients idle: {self._idle()}, watchers have seen all: {self._all_seen()}, "
            f"members wanted: {self.wanted}, slots wanted: {self.wanted_groups}"
        ]
        for name, node in self.nodes.items():
            for number, replica in (node.core.replicas if node.core else {}).items():
                raft = replica.guard
                lines.append(
                    f"{name}/{number}: {raft.role.name} of {raft.leader} in term {raft.term}, "
                    f"commit {raft.commit_index}, log {raft.journal.first_index}.."
                    f"{raft.journal.last_index}, applied {replica.table.applied} of "
                    f"{self.checks.model(number).last} {replica.rebuilding}, members "
                    f"{replica.members}{'' if replica.members_committed else ' not committed'}"
                )
        return "\n  ".join(lines)


def _topology(schedule: Schedule, founders: Sequence[str]) -> Topology:
    """Behind the groups that slots are dealt to stand those that were added."""
    groups = schedule.groups + schedule.added
    nodes = one_node_each(founders)
    founded = spread("simulated", nodes, groups, schedule.nodes, slots=SLOTS)
    added = [
        replace(group, since=1, founders=group.replicas)
        for group in founded.groups[schedule.groups :]
    ]
    return replace(founded, groups=(*founded.groups[: schedule.groups], *added))


def describe(error: Exception) -> str:
    """A violation speaks for itself; anything else is told with its place."""
    if isinstance(error, Violation):
        return f"{type(error).__name__}: {error}"
    traceback = error.__traceback__
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return f"{type(error).__name__}: {error} ({' > '.join(places[-6:])})"


@contextmanager
def _small_limits() -> Iterator[None]:
    kept = [(module, name, getattr(module, name)) for module, name, _ in SMALL_LIMITS]
    for module, name, value in SMALL_LIMITS:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


@contextmanager
def _rivals(wanted: bool) -> Iterator[None]:
    kept = Elections._give_way
    if wanted:
        Elections._give_way = _give_no_way  # type: ignore[method-assign]
    try:
        yield
    finally:
        Elections._give_way = kept  # type: ignore[method-assign]


def _give_no_way(self: Elections, rival: str) -> None:
    """All go on who are granted a pre-vote."""


@contextmanager
def without_collector() -> Iterator[None]:
    """A run is short, and its memory is given back as a whole: collecting amid it is in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run(schedule: Schedule) -> Result:
    """One run of a schedule, from its first event to its recovery or its first violation."""
    return World(schedule).run()
