"""One who watches one key, in whatever group it is: of what it is shown no version is missing.

It goes on at another node, or in another group, from where it stood. Only if it is told that this
cannot be does it begin anew at the present, as who then reads the key would.
"""

import random
from typing import TYPE_CHECKING, Final

from globaltable.errors import Compacted, Lagged, Unavailable
from globaltable.server.key_watches import group_to_watch
from globaltable.server.watches import Change, Watcher
from tests.simulation.checks import require

if TYPE_CHECKING:
    from tests.simulation.node import Life
    from tests.simulation.world import World

_PAUSE_S: Final = 0.1


class KeyWatching:
    def __init__(self, world: "World", number: int, key: bytes) -> None:
        self._world = world
        self._key = key
        self._name = f"watcher of key {number}"
        self._rng = random.Random(f"{self._name} {world.schedule.seed}")
        self._position: dict[int, int] = {}
        """By group in which it has watched."""
        self._group = 0
        """The last of them."""
        self._version: int | None = None
        """The last that it was shown; None: it has begun anew since."""
        self._at: tuple[Life, Watcher] | None = None
        self.followed = 0
        """How often it has gone on in another group, and missed nothing."""

    def start(self) -> None:
        self._look()

    def _look(self) -> None:
        self._world.timeline.after(self._rng.random() * _PAUSE_S, self._look)
        if self._at is None or not self._at[0].clock.is_alive:
            self._go_on()
        if self._at is not None and self._at[1].awake.is_set():
            self._take(*self._at)

    def _go_on(self) -> None:
        self._at = None
        life = self._world.nodes[self._rng.choice(list(self._world.nodes))].life
        if life is None:
            return
        try:
            group = group_to_watch(life.core, self._key, self._position)
            behind = self._position.get(group, 0) > life.core.serving(group).table.applied
            if behind:
                return
            watcher = life.watches.add(self._key, True, [group], self._position)
        except Unavailable:
            return
        except Compacted:
            self._begin_anew()
            return
        self.followed += bool(self._position) and group != self._group
        self._group = group
        self._position |= watcher.position
        self._world.note(self._name, "watches", *self._position.items())
        self._at = (life, watcher)
        watcher.awake.set()

    def _take(self, life: "Life", watcher: Watcher) -> None:
        try:
            changes = life.watches.take(watcher)
        except Unavailable:
            life.watches.remove(watcher)
            self._at = None
            return
        except Lagged:
            life.watches.remove(watcher)
            self._at = None
            self._begin_anew()
            return
        for change in changes:
            self._shown(change)
        self._position |= watcher.position

    def _shown(self, change: Change) -> None:
        right = self._version is None or change.version == self._version + 1
        require(right, f"{self._name} is shown {change} after version", self._version)
        self._version = change.version

    def _begin_anew(self) -> None:
        self._position.clear()
        self._version = None

    @property
    def has_seen_all(self) -> bool:
        """To be asked at the end; then it looks once more."""
        if self._at is None or not self._at[0].clock.is_alive:
            return False
        self._take(*self._at)
        last, _ = self._world.checks.ledger.get(self._key, (0, None))
        return self._at is not None and self._version in (None, last)
