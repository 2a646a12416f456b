"""Those who move slots: several at once, who know where each slot is to be sooner or later.

A mover remembers nothing of a move but where it is wanted. At each look it takes a slot and a
group, asks production what is to be done (`slot_moves`) by what the replicas of some node hold, be
it old, and has that node propose it. It does not always wait for the end of a step: it goes to
another node, as a new leader would, and the step that it has left behind may come late.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from globaltable.errors import StorageError
from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.driver import Told
from globaltable.slot_history import SlotHistory
from globaltable.slot_moves import Ask, CopyOn, Ends, Rest, copies, duty, next_action
from globaltable.slot_steps import Copy, Step
from globaltable.table import Table

if TYPE_CHECKING:
    from tests.simulation.node import Life
    from tests.simulation.world import World

MOVERS: Final = 2
_PAUSE_S: Final = 0.01
_STEP_S: Final = 0.6
_LEAVES: Final = 0.1
"""How often a mover goes elsewhere before a step has ended."""


class _Pass:
    """Copies on their way, one after the other."""

    def __init__(self, life: "Life", ends: Ends, table: Table, action: CopyOn) -> None:
        self.life = life
        self.ends = ends
        self.table = table
        self.copies: Iterator[Copy | None] = copies(
            ends, SlotHistory(table), action.hop, action.after
        )

    @property
    def is_whole(self) -> bool:
        """What it reads is still the table."""
        replica = self.life.core.replicas.get(self.ends.source)
        return replica is not None and replica.table is self.table


class Mover:
    def __init__(self, world: "World", number: int) -> None:
        self._world = world
        self._name = f"mover {number}"
        self._rng = random.Random(f"{self._name} {world.schedule.seed}")
        self._wanted: dict[int, int] = {}
        self._wanted_since: dict[int, float] = {}
        self._pass: _Pass | None = None
        self._waits_for = 0
        """Number of the step whose end is awaited; 0: none."""
        self._steps = 0
        self._waits_until = 0.0

    def start(self) -> None:
        self._look()

    def told_where(self, slot: int, group: int, at: float) -> None:
        """The latest wish counts, in whatever order they come."""
        if at >= self._wanted_since.get(slot, 0.0):
            self._wanted_since[slot], self._wanted[slot] = at, group

    def _look(self) -> None:
        world = self._world
        world.timeline.after(self._rng.random() * 2 * _PAUSE_S, self._look)
        waits = self._waits_for and world.timeline.now < self._waits_until
        if waits and self._rng.random() >= _LEAVES:
            return
        self._waits_for = 0
        if self._pass is not None and not waits and self._go_on(self._pass):
            return
        self._pass = None
        node = world.nodes[self._rng.choice(list(world.nodes))]
        if node.life is not None and self._wanted:
            self._begin(node.life)

    def _begin(self, life: "Life") -> None:
        slot = self._rng.choice(sorted(self._wanted))
        groups = [group.number for group in self._world.topology.groups]
        self._rng.shuffle(groups)
        for group in groups:
            if not life.core.refusal(group):
                holding = life.core.replicas[group].table.holdings.of(slot)
                task = duty(slot, group, holding, self._wanted[slot])
                if isinstance(task, Ask):
                    self._ask(life, task.group, task.step)
                    return
                if task is not None and self._move(life, task.ends, task.undo):
                    return

    def _move(self, life: "Life", ends: Ends, undo: bool) -> bool:
        """Whether there was anything to do."""
        if life.core.refusal(ends.target):
            return False
        table = life.core.replicas[ends.source].table
        there = life.core.replicas[ends.target].table.holdings.of(ends.slot)
        ahead = self._rng.random() < 0.7
        try:
            action = next_action(ends, table, there, ahead=ahead, undo=undo)
        except StorageError as error:
            life.driver.met_damage(ends.source, error)
            return True
        if isinstance(action, Rest):
            return False
        if isinstance(action, Ask):
            self._ask(life, action.group, action.step)
            return True
        self._pass = _Pass(life, ends, table, action)
        return self._go_on(self._pass)

    def _go_on(self, one: _Pass) -> bool:
        """The next copy of a pass; False if it is over, or void."""
        if not one.life.clock.is_alive or not one.is_whole:
            return False
        try:
            copy = next((copy for copy in one.copies if copy is not None), None)
        except StorageError as error:
            one.life.driver.met_damage(one.ends.source, error)
            return False
        if copy is None:
            return False
        self._ask(one.life, one.ends.target, copy)
        return True

    def _ask(self, life: "Life", group: int, step: Step) -> None:
        self._steps += 1
        number = self._waits_for = self._steps
        self._waits_until = self._world.timeline.now + _STEP_S
        self._world.note(self._name, "asks", group, *_short(step))

        def told(_positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
            self._world.note(self._name, "is told", group, number, *outcomes)
            if self._waits_for == number:
                self._waits_for = 0
                if outcomes[0].status is not OutcomeStatus.APPLIED:
                    self._pass = None

        life.clock.run(_submit, life, group, step, told)


def _submit(life: "Life", group: int, step: Step, told: Told) -> None:
    life.driver.submit_step(group, step, life.clock.time() + _STEP_S, told)


def _short(step: Step) -> tuple[object, ...]:
    if isinstance(step, Copy):
        slot, hop, source, after, through, rows, ops = step
        return "Copy", slot, hop, source, after, through, len(rows), len(ops)
    return type(step).__name__, *step
