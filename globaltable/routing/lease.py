"""A unit's lease: until when it may serve, though it hears from nobody.

A unit that is cut off cannot be told that its sessions were moved. So it serves only while it holds
its lease, and whoever moves them by force first takes the lease away and then waits until it must
have ended. Responsible for the arithmetic of that, and for the text of the lease's record; the
record is a binding of `routing.meta`, renewed by compare-and-set (`globaltable.routing.client`).

Why nobody serves after the wait: a renewal counts from the moment it was *sent*, and the mover
waits from the moment its revocation was *acknowledged*. Both are compare-and-sets of one key: a
renewal that took effect did so before the revocation, so it was sent before the wait began. Clocks
are only compared with themselves; all that is asked of two of them is that over the length of a
lease neither runs more than `DRIFT_MAX` fast or slow.
"""

import enum
import math
from typing import Final, NamedTuple

from globaltable.errors import InvalidArgument, ProtocolError

LEASE_S_DEFAULT: Final = 60.0
"""Long enough to sit out an election or a restart of GlobalTable. It is also how long known
sessions go on without any of it, and how long a move by force waits."""
LEASE_S_MIN: Final = 0.05
LEASE_S_MAX: Final = 86_400.0

DRIFT_MAX: Final = 0.01
"""A hundred times what NTP lets a clock be corrected by (500 ppm), and rounded up."""


def require_lease(lease_s: float) -> None:
    """Refuse what is no length of a lease. Raises InvalidArgument."""
    if not LEASE_S_MIN <= lease_s <= LEASE_S_MAX:
        raise InvalidArgument(
            f"lease_s is {lease_s!r}; it must be {LEASE_S_MIN} to {LEASE_S_MAX:.0f} seconds"
        )


def wait_s(lease_s: float) -> float:
    """How long after a revocation's acknowledgement no clock within bounds holds it still."""
    return lease_s * (1 + DRIFT_MAX) / (1 - DRIFT_MAX)


class Lease:
    """What one unit knows of its own lease. Times are of the unit's own clock, in seconds.

    `epoch` counts how often it was taken away: what was begun in one epoch is not ended in another.
    """

    def __init__(self, lease_s: float) -> None:
        require_lease(lease_s)
        self.lease_s = lease_s
        self.epoch = 0
        self._until_s = -math.inf

    def held(self, now_s: float) -> bool:
        return now_s < self._until_s

    def left_s(self, now_s: float) -> float:
        """How long it is still held; 0 if it is not."""
        return max(0.0, self._until_s - now_s)

    def granted(self, sent_s: float) -> None:
        """A renewal that was sent at `sent_s` took effect."""
        self._until_s = max(self._until_s, sent_s + self.lease_s)

    def lost(self) -> None:
        """It was taken away: it ends now, and with it everything that was begun under it."""
        self._until_s = -math.inf
        self.epoch += 1


class Standing(enum.Enum):
    """What the record of a lease says."""

    HELD = "held"
    REVOKED = "revoked"


class LeaseRecord(NamedTuple):
    """The unit text of the binding `lease/<unit>`, at most 64 bytes.

    `holder` is the identity of the fence store of the process that holds or held it: a process that
    starts with that store is its successor, and no other may be.
    """

    standing: Standing
    holder: str
    lease_s: float

    def text(self) -> str:
        return f"{self.standing.value} {self.holder} {self.lease_s:g}"

    @classmethod
    def read(cls, text: str) -> "LeaseRecord":
        """The inverse of `text`. Raises ProtocolError."""
        try:
            standing, holder, lease = text.split(" ")
            record = cls(Standing(standing), holder, float(lease))
            require_lease(record.lease_s)
        except (ValueError, InvalidArgument) as error:
            raise ProtocolError(f"{text!r} is no lease of a unit: {error}") from None
        return record


def lease_key(unit: str) -> str:
    """Where in `routing.meta` the lease of a unit is kept."""
    return f"lease/{unit}"


def control_key(unit: str) -> str:
    """Where in `routing.meta` it is kept where a unit is told of moves: "host:port"."""
    return f"control/{unit}"
