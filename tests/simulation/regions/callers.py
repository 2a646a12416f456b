"""Clients of the library, each in a region, that know the nodes there and learn of all others."""

from typing import TYPE_CHECKING, Any, Final

from globaltable.client._lanes import WriteOp
from globaltable.errors import GlobalTableError, NotBound, OutcomeUnknown, VersionConflict
from globaltable.model import qualified_name
from tests.simulation.checks import Violation
from tests.simulation.library import TABLE, Asking, LibraryClient

if TYPE_CHECKING:
    from tests.simulation.regions.world import RegionsWorld

TIMEOUT_S: Final = 3.0
"""The deadline of a call."""
_KEYS_PER_GROUP: Final = 3
_LOCAL_ONE_WAY_S: Final = 0.0003
_NOTICED_S: Final = 0.3
"""After so long without a word a connection is given up."""


def asking(groups: int, pause_s: float) -> Asking:
    keys = tuple(qualified_name(TABLE, f"k{n}") for n in range(_KEYS_PER_GROUP * groups))
    return Asking(keys, TIMEOUT_S, attempt_s=0.8, pause_s=pause_s)


class RegionCaller(LibraryClient):
    """One caller after the other, at home in `region`."""

    def __init__(self, world: "RegionsWorld", number: int, region: str, asking: Asking) -> None:
        names = [node.name for node in world.topology.nodes if node.region == region]
        super().__init__(world, number, names, asking)
        self.region = region
        self._regions = world
        self.slowest_s = 0.0
        self.unknown = 0
        """Calls that ended without a word on what became of them."""

    # --- the way to a node -----------------------------------------------------------------------

    def _one_way_s(self, name: str) -> float:
        to = self._regions.topology.region_of[name]
        return self._regions.one_way_s(self.region, to) or _LOCAL_ONE_WAY_S

    def _reaches(self, name: str) -> bool:
        return self._regions.joined(self.region, self._regions.topology.region_of[name])

    def cut_off(self) -> None:
        """Links have been cut: connections over them are silent, and then given up."""
        for node, connection in list(self._connections.items()):
            if not self._reaches(self._name_of(node)):
                connection.silent = True
                after_s = _NOTICED_S * (1 + self._rng.random())
                self._regions.timeline.after(after_s, self._broken, connection, node)

    # --- callers ---------------------------------------------------------------------------------

    def _ask(self) -> None:
        if self._regions.has_power(self.region):
            super()._ask()
        elif self._regions.timeline.now < self._stop_at:
            self._regions.timeline.after(self._asking.pause_s, self._ask)

    def _told(
        self, waiter: tuple[WriteOp, float], value: Any, error: GlobalTableError | None
    ) -> None:
        super()._told(waiter, value, error)
        op, asked_at = waiter
        took_s = self._regions.timeline.now - asked_at
        self.slowest_s = max(self.slowest_s, took_s)
        self.unknown += isinstance(error, OutcomeUnknown)
        ended = error is None or isinstance(error, VersionConflict | NotBound)
        if not ended and self._regions.owes(self.region, asked_at):
            raise Violation(
                f"op {op.sequence} on {op.key} of a caller in {self.region} failed after "
                f"{took_s:.2f} s, though a majority was there: {error!r}"
            )
