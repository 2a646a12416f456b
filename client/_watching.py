"""Where a watch stands on one stream: which changes were handed out, and where to resume.

Responsible for missing nothing and repeating nothing over any number of streams. No I/O.

Invariants:

* `position` covers a change exactly when it has been handed out, but for changes that share one
  revision: it covers them together, once the last of them that has arrived is handed out. So
  resuming from a position that was kept never misses a change.
* A change handed out once is not handed out again by this watch: what a node sends again after a
  reconnection is told by group and revision, and within one revision by key and version.
"""

import random
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from globaltable.client._attempts import Attempts, Failure, FailureKind, backoff_s
from globaltable.client._routes import ANY, Routes
from globaltable.client.values import Change, read_change
from globaltable.errors import GlobalTableError, ProtocolError
from globaltable.v1 import globaltable_pb2 as pb


class WatchProgress:
    """What one watch has asked for, received and handed out, of the groups on one stream."""

    def __init__(
        self,
        table: str,
        key: str | None,
        prefix: str,
        after: Mapping[int, int],
        chance: random.Random | None = None,
        *,
        route: int = ANY,
        groups: tuple[int, ...] | None = None,
    ) -> None:
        self._table = table
        self.key = key
        self.route = route
        """The nodes that may be asked."""
        self.groups = groups
        """Of a prefix, those watched; None for all."""
        self._prefix = prefix
        self._position = dict(after)
        self._chance = chance or random.Random()
        # Changes that have arrived, each with the position that holds once it is handed out.
        self._arrived: deque[tuple[Change, Mapping[int, int]]] = deque()
        self._arrived_position = dict(after)
        self._beyond: set[tuple[int, int, str, int]] = set()
        self._attempts = Attempts()
        self.avoided = 0
        """The nodes that have failed since a stream last held."""
        self._stream_holds = False
        self.started = False
        """Whether a node has ever said where the watch starts."""

    @property
    def subject(self) -> str:
        """What is watched, for error messages."""
        what = f"key {self.key!r}" if self.key is not None else f"prefix {self._prefix!r}"
        return f"watch of {what} in {self._table!r}"

    @property
    def arrived_position(self) -> Mapping[int, int]:
        """The last revision all of which has arrived, by group: the next stream begins there."""
        return self._arrived_position

    @property
    def has_arrived(self) -> bool:
        """Whether something is left to be handed out."""
        return bool(self._arrived)

    def succeeded(
        self,
        after: Mapping[int, int],
        by: "Iterable[WatchProgress]",
        route: int,
        groups: tuple[int, ...] | None,
    ) -> "WatchProgress":
        """The same watch of other groups or at other nodes, where these have been followed."""
        successor = WatchProgress(
            self._table, self.key, self._prefix, after, self._chance, route=route, groups=groups
        )
        for one in by:
            successor._beyond |= {p for p in one._beyond if groups is None or p[0] in groups}
        successor.started = bool(after) and (groups is None or after.keys() >= set(groups))
        return successor

    @property
    def position(self) -> dict[int, int]:
        """The last revision handed out, by group."""
        return dict(self._position)

    def request(self) -> bytes:
        """Asks a node for what comes after all that has arrived."""
        request = pb.WatchRequest(
            table=self._table,
            after=[
                pb.GroupRevision(group=group, revision=revision)
                for group, revision in sorted(self._arrived_position.items())
            ],
        )
        if self.key is not None:
            request.key = self.key
        else:
            request.prefix = self._prefix
            request.groups.extend(self.groups or ())
        return request.SerializeToString()

    def received(self, data: bytes) -> None:
        """A message of the stream arrived. Raises ProtocolError."""
        try:
            response = pb.WatchResponse.FromString(data)
        except DecodeError as error:
            raise ProtocolError(f"{self.subject}: the node's message does not decode") from error
        fresh = self._fresh(response)
        self.started = True
        if self._stream_holds:
            self._attempts = Attempts()
            self.avoided = 0
        # The first message alone proves little: a node may send it and fail over what comes next.
        self._stream_holds = True

        told = {place.group: place.revision for place in response.position}
        last = {(change.group, change.revision): change for change in fresh}
        for change in fresh:
            moved: dict[int, int] = {}
            if last[change.group, change.revision] is change:
                # A node that is amid one revision says so by a position before it.
                moved[change.group] = min(change.revision, told.get(change.group, change.revision))
            self._arrived.append((change, moved))
            self._advance(self._arrived_position, moved)
            self._beyond.add((change.group, change.revision, change.key, change.version))
        if self._arrived:
            change, covers = self._arrived.pop()
            later = dict(covers)
            self._advance(later, told)
            self._arrived.append((change, later))
        else:
            self._advance(self._position, told)
        self._advance(self._arrived_position, told)
        covered = self._arrived_position
        self._beyond = {place for place in self._beyond if place[1] > covered.get(place[0], 0)}

    def _fresh(self, response: pb.WatchResponse) -> list[Change]:
        fresh = []
        for message in response.changes:
            change = read_change(message)
            if change.revision <= self._arrived_position.get(change.group, 0):
                continue
            if (change.group, change.revision, change.key, change.version) in self._beyond:
                continue
            fresh.append(change)
        return fresh

    def _advance(self, position: dict[int, int], to: Mapping[int, int]) -> None:
        # What is known of a group that the key's slot has left stays: should the slot come back
        # there, a replica that is behind must not begin with what has been told long since.
        for group, revision in to.items():
            if revision > position.get(group, -1):
                position[group] = revision

    def next_change(self) -> Change | None:
        """Hand out the next change that has arrived; None if there is none."""
        if not self._arrived:
            return None
        change, moved = self._arrived.popleft()
        self._advance(self._position, moved)
        return change

    # --- failures --------------------------------------------------------------------------------

    def failed(self, failure: Failure, node: int, nodes_left: bool) -> float:
        """A stream ended. The seconds to wait before the next; raises what cannot be retried."""
        self._stream_holds = False
        if failure.kind is FailureKind.FINAL:
            raise self._attempts.final_error(failure, self.subject, idempotent=True)
        self._attempts.record(failure)
        self.avoided |= 1 << node
        if nodes_left and failure.kind is not FailureKind.OVERLOADED:
            return 0.0
        if not nodes_left:
            self.avoided = 0
        self._attempts.rounds += 1
        return failure.retry_delay_s + backoff_s(self._attempts.rounds, self._chance)

    def deadline_error(self) -> GlobalTableError:
        """What to tell of a watch that could not be started in time."""
        return self._attempts.deadline_error(self.subject, idempotent=True, in_flight=False)


class WatchedNodes(Protocol):
    """What a watch asks of its client. Nothing of it waits."""

    attempt_timeout_s: float
    """How long a node may take to say where a stream starts."""

    @property
    def closed(self) -> bool:
        """Whether the client is."""
        ...

    @property
    def routes(self) -> Routes:
        """Who holds what, as far as the client knows."""
        ...

    def began(self) -> None:
        """A watch begins, for which the client must learn of groups that are new."""
        ...

    def ended(self) -> None:
        """It is over."""
        ...

    def require_open(self, subject: str) -> None:
        """Raises ClientClosed."""
        ...

    def open_stream(self, progress: WatchProgress) -> tuple[int, Any]:
        """The node to ask next, and a stream from it that goes on where the watch stands."""
        ...

    def stream_failed(
        self, progress: WatchProgress, node: int, failure: Failure, waited_s: float
    ) -> float:
        """Hold the end of a stream against its node. The seconds to wait before the next; raises
        what cannot be retried."""
        ...
