"""A watch over groups that no one node holds all of: one stream for each set of holders, merged.

Responsible for which groups are watched on which stream, and for that nothing is missed or repeated
when that changes while the watch goes on. What one stream has brought is `_watching`'s. No I/O.

Invariants:

* Each group is watched on one stream at a time, from behind all that has arrived of it.
* What has arrived is handed out before anything that other streams bring of the same groups.
* A watch that was begun at the present is so in the groups that there were then. A group that has
  come since, or that a position does not name from which the watch was resumed, is watched from its
  beginning: a position names every group that there was. What is no longer kept is said
  (`Compacted`).
"""

from collections.abc import Mapping

from globaltable.client._routes import ANY, Routes
from globaltable.client._watching import WatchProgress
from globaltable.client.values import Change
from globaltable.errors import GlobalTableError


class MergedProgress:
    """What a watch has asked for, received and handed out, over all its streams."""

    def __init__(self, first: WatchProgress) -> None:
        self._resumed = bool(first.position)
        self._from_present: frozenset[int] | None = None
        """The groups that there were when the watch began at the present; None until known."""
        self._changes = -1
        self._drained: list[WatchProgress] = []
        """Followed no longer, but something that they brought has yet to be handed out."""
        self._first = first
        """Of what there is a watch."""
        self.streams = [first]

    @property
    def subject(self) -> str:
        """What is watched, for error messages."""
        return self._first.subject

    @property
    def started(self) -> bool:
        """Whether it has been said of every group where the watch starts."""
        return all(stream.started for stream in self.streams)

    @property
    def position(self) -> dict[int, int]:
        """The last revision handed out, by group."""
        position: dict[int, int] = {}
        for stream in reversed(self._drained + self.streams):
            position |= stream.position
        return position

    def deadline_error(self) -> GlobalTableError:
        """What to tell of a watch that could not be started in time."""
        late = next((stream for stream in self.streams if not stream.started), self.streams[0])
        return late.deadline_error()

    def next_change(self) -> Change | None:
        """Hand out the next change that has arrived; None if there is none."""
        while self._drained:
            change = self._drained[0].next_change()
            if change is not None:
                return change
            del self._drained[0]
        for number, stream in enumerate(self.streams):
            change = stream.next_change()
            if change is not None:
                # Every stream has its turn.
                self.streams.append(self.streams.pop(number))
                return change
        return None

    def follow(self, routes: Routes) -> list[WatchProgress]:
        """Watch what there is where it is now; the streams that are to be ended."""
        if routes.changes == self._changes:
            return []
        self._changes = routes.changes
        key = self._first.key
        if key is not None:
            route = routes.of_key(key)
            return [] if route == self.streams[0].route else self._replace([(route, None)])
        wanted: list[tuple[int, tuple[int, ...] | None]] = [
            (mask, tuple(groups)) for mask, groups in routes.groups().items()
        ]
        if self._from_present is None and wanted and not self._resumed:
            begun = any(stream.started for stream in self.streams)
            self._from_present = frozenset() if begun else frozenset(routes.all_groups())
        return self._replace(wanted or [(ANY, None)])

    def _replace(self, wanted: list[tuple[int, tuple[int, ...] | None]]) -> list[WatchProgress]:
        kept = {(stream.route, stream.groups): stream for stream in self.streams}
        streams = [kept.pop(one, None) for one in wanted]
        ended = list(kept.values())
        self.streams = [
            stream or self._stream(ended, *one) for stream, one in zip(streams, wanted, strict=True)
        ]
        self._drained += [stream for stream in ended if stream.has_arrived]
        return ended

    def _stream(
        self, ended: list[WatchProgress], route: int, groups: tuple[int, ...] | None
    ) -> WatchProgress:
        after: dict[int, int] = {}
        for stream in ended:
            after |= stream.arrived_position
        if groups is not None:
            present = self._from_present or frozenset()
            beginnings: Mapping[int, int] = {g: 0 for g in groups if g not in present}
            after = {g: at for g, at in {**beginnings, **after}.items() if g in groups}
        return self._first.succeeded(after, ended, route, groups)
