"""When watchers to whom nothing happens are told how far they have come.

Without a change that it wants a watch says nothing, and the position that its client would resume
from grows old, until the history that follows it is no longer kept. So each is looked at now and
then, and told before that. One task looks at all of them, a few at a time: a watcher has no timer
of its own, and while nothing is written nobody is woken or told anything.

Invariant: whoever is told is woken in the course of a period, not all at once.
"""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

from globaltable.errors import Unavailable
from globaltable.server.watches import Watcher, Watches

PERIOD_S: Final = 5.0
"""In which each watcher is looked at once."""
KEY_ROUNDS: Final = 12
"""One of a single key is told in every so many periods only: it needs no history to resume if its
key has not changed (`watches`)."""
_AT_ONCE: Final = 64
_OLD: Final = 1 / 8
"""Share of the kept history behind a position before it is told anew."""


class WatchProgress:
    """Of one node; `run` is its task."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches

    async def run(self) -> None:
        """Look for ever; cancelled at the end."""
        rounds = 0
        while True:
            rounds += 1
            watchers = iter(self._watches.all())
            count = max(len(self._watches), _AT_ONCE)
            while some := list(islice(watchers, _AT_ONCE)):
                self.look(some, keys=rounds % KEY_ROUNDS == 0)
                await asyncio.sleep(PERIOD_S * _AT_ONCE / count)
            if not len(self._watches):
                await asyncio.sleep(PERIOD_S)

    def look(self, watchers: Iterable[Watcher], *, keys: bool) -> None:
        """Wake those whose clients know too old a position; `keys`: those of single keys too."""
        old: dict[int, float] = {}
        for watcher in watchers:
            if watcher.exact and not keys:
                continue
            for group, told in watcher.told.items():
                if group not in old:
                    old[group] = self._old(group)
                if told < old[group]:
                    watcher.awake.set()
                    break

    def _old(self, group: int) -> float:
        """A revision: who was last told one before it is to be told anew."""
        try:
            floor, applied = self._watches.kept(group)
        except Unavailable:
            # Out of service: who watches it is told so by others.
            return float("-inf")
        return floor + (applied - floor) * (1 - _OLD)
