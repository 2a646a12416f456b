"""How far the nodes are from each other, as well as this one can know.

Its own links it measures all the time. Those between two others it cannot: for them the
configuration is believed, and without one a detour over this node, which is never too short where
the direct way is the shortest. Groups of three never ask; of five, a follower's cost depends on it.
"""

import math
from collections.abc import Mapping
from typing import Protocol

from globaltable.placement import RoundTrips


class Links(Protocol):
    """What is asked of this node's connections (`peers`)."""

    def connected(self, peer: str) -> bool: ...

    def round_trip_s(self, peer: str) -> float:
        """Smoothed; 0.0 until it has been measured."""
        ...


class Distances:
    """Round trips as the node `own` sees them."""

    def __init__(
        self, own: str, region_of: Mapping[str, str], links: Links, configured: RoundTrips | None
    ) -> None:
        """`configured` are those between regions; `region_of` names those of nodes."""
        self._own = own
        self._region_of = region_of
        self._links = links
        self._configured = configured

    def round_trip_s(self, a: str, b: str) -> float:
        """Between two nodes; infinite if this one has no way to the one that is not itself."""
        if a == self._own:
            return self._to(b)
        if b == self._own:
            return self._to(a)
        if self._configured is not None:
            return self._between_s(self._configured, a, b)
        return self._to(a) + self._to(b)

    def _to(self, peer: str) -> float:
        if not self._links.connected(peer):
            return math.inf
        measured_s = self._links.round_trip_s(peer)
        if measured_s > 0:
            return measured_s
        if self._configured is not None:
            return self._between_s(self._configured, self._own, peer)
        return math.inf

    def _between_s(self, configured: RoundTrips, a: str, b: str) -> float:
        return configured.between_s(self._region_of[a], self._region_of[b])
