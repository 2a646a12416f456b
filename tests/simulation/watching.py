"""Those who watch: whatever happens to nodes, they see every change once and in order.

A watcher takes what production's `Watches` has for it, and remembers its position. If its node dies
it goes on at another one, from where it stood. Only if it is told that changes are gone does it
begin anew at the present, as a client that scans would.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from globaltable.errors import Elsewhere, NoQuorum, WatchError
from globaltable.model import OutcomeStatus
from globaltable.server.watches import Change, Watcher
from tests.simulation.checks import Checks, require

if TYPE_CHECKING:
    from tests.simulation.node import Life
    from tests.simulation.scene import Scene

_PAUSE_S: Final = 0.2


class Watching:
    """One who watches all names of some groups, which are all on the same nodes."""

    def __init__(
        self, world: "Scene", number: int, groups: Sequence[int], nodes: Sequence[str]
    ) -> None:
        self._world = world
        self._groups = groups
        self._nodes = nodes
        self._name = f"watcher {number}"
        self._rng = random.Random(f"{self._name} {world.schedule.seed}")
        self._position: dict[int, int] = {}
        self._versions: dict[bytes, int] = {}
        """By name, the last version that it was shown."""
        self._at: tuple[Life, Watcher] | None = None
        self.seen = 0

    def start(self) -> None:
        self._look()

    def _look(self) -> None:
        self._world.timeline.after(self._rng.random() * _PAUSE_S, self._look)
        if self._at is None or not self._alive(self._at[0]):
            self._go_elsewhere()
        if self._at is not None and self._at[1].awake.is_set():
            self._take(*self._at)

    def _alive(self, life: "Life") -> bool:
        return any(node.life is life for node in self._world.nodes.values())

    def _go_elsewhere(self) -> None:
        self._at = None
        node = self._world.nodes[self._rng.choice(self._nodes)]
        life, groups = node.life, self._groups
        if life is None or any(life.core.refusal(group) for group in groups):
            return
        # A replica that has not yet got as far as this watcher has nothing for it.
        if any(life.core.replicas[g].table.applied < at for g, at in self._position.items()):
            return
        self._world.note(self._name, "watches at", node.name, *self._position.items())
        try:
            watcher = life.watches.add(b"", False, groups, self._position)
        except WatchError as error:
            self._begin_anew(error)
            return
        self._position = dict(watcher.position)
        self._at = (life, watcher)
        watcher.awake.set()

    def _take(self, life: "Life", watcher: Watcher) -> None:
        try:
            changes = life.watches.take(watcher)
        except (NoQuorum, Elsewhere):
            self._at = None
            return
        except WatchError as error:
            life.watches.remove(watcher)
            self._at = None
            self._begin_anew(error)
            return
        for group, position in watcher.position.items():
            found = [change for change in changes if change.group == group]
            self._require_all(self._world.checks, group, position, found)
            self._position[group] = position
        self._require_order(changes)
        self.seen += len(changes)

    def _require_order(self, changes: list[Change]) -> None:
        """Of each name one version after the other, whatever groups they were made in. Only who
        begins anew may have missed some."""
        for change in changes:
            last = self._versions.get(change.name)
            right = last is None or change.version == last + 1
            require(right, f"{self._name} is shown {change} after version", last)
            self._versions[change.name] = change.version

    def _begin_anew(self, error: WatchError) -> None:
        """Only if what it has not seen is gone indeed."""
        gone = [g for g, at in self._position.items() if at < self._world.checks.model(g).floor]
        require(bool(gone), f"{self._name} at {self._position} is told in vain:", error)
        self._position.clear()
        self._versions.clear()

    def _require_all(self, checks: Checks, group: int, position: int, found: list[Change]) -> None:
        """What was taken is what the log says between the last position and this one."""
        model, before = checks.model(group), self._position[group]
        require(before <= position <= model.last, f"{self._name} is at {position} after", before)
        right = [
            (revision, op.kind, op.name, told.unit, told.version)
            for revision in range(before + 1, position + 1)
            for op, told in model.record(revision).new
            if told.status is OutcomeStatus.APPLIED
        ]
        said = [(c.revision, c.kind, c.name, c.unit, c.version) for c in found]
        require(said == right, f"{self._name} of group {group} is shown {said}, not", right)

    @property
    def has_seen_all(self) -> bool:
        """To be asked at the end; then it looks once more, and must have been woken if there is
        anything to see."""
        if self._at is None or not self._alive(self._at[0]):
            return False
        woken, seen = self._at[1].awake.is_set(), self.seen
        self._take(*self._at)
        require(woken or self.seen == seen, f"{self._name} was not woken for what it now sees")
        last = {group: self._world.checks.model(group).last for group in self._groups}
        return self._at is not None and self._position == last
