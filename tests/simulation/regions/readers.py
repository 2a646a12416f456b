"""Readers behind a barrier, at nodes of their own region or another."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from globaltable.model import Outcome

if TYPE_CHECKING:
    from tests.simulation.node import Life
    from tests.simulation.regions.world import RegionsWorld

_PAUSE_S: Final = 0.02
_PATIENCE_S: Final = 1.0


class Read:
    """One read of a group, at one node. It sees all that was acknowledged when it was asked."""

    def __init__(self, world: "RegionsWorld", number: int, group: int) -> None:
        self._world = world
        self._number = number
        self._group = group
        self._at_least = 0

    def submitted(self, life: "Life", group: int, deadline: float) -> None:
        self._at_least = self._world.checks.acknowledged.get(self._group, 0)

    def told(self, node: str, outcomes: Sequence[Outcome]) -> None:
        core = self._world.nodes[node].core
        assert core is not None, "a dead process tells nobody anything"
        if not outcomes and self._group in core.replicas:
            self._world.reads += 1
            replica = core.replicas[self._group]
            self._world.checks.read(node, self._group, self, replica, self._at_least)

    def __str__(self) -> str:
        return f"read {self._number} of group {self._group}"


class Reader:
    """Reads any group at any node that holds it."""

    def __init__(self, world: "RegionsWorld") -> None:
        self._world = world
        self._rng = random.Random(f"reader {world.schedule.seed}")
        self._reads = 0
        self._stop_at = 0.0

    def start(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self._read()

    def _read(self) -> None:
        if self._world.timeline.now >= self._stop_at:
            return
        group = self._rng.choice(self._world.topology.groups)
        node = self._world.nodes[self._rng.choice(group.holders)]
        self._reads += 1
        node.submit(group.number, (), Read(self._world, self._reads, group.number), _PATIENCE_S)
        self._world.timeline.after(self._rng.random() * 2 * _PAUSE_S, self._read)
