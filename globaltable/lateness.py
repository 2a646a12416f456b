"""Whether a replica's outcomes come late all the time, and how many ops may wait at it then.

Responsible for telling a replica that has more to do than it can, whose outcomes come ever later,
from one that has no leader for a while, whose outcomes do not come at all: the latter is over at
once, and what has waited is then answered in a breath.
"""

from typing import Final

LATE_S: Final = 0.5
"""A batch that has no outcome after this is late."""
OPS_MIN: Final = 512
"""So many may always wait: links may be slow, and nothing overloaded."""


class Lateness:
    """Of the batches that one replica has proposed."""

    def __init__(self, now: float) -> None:
        self._late_since: float | None = None
        self._applied_at = now
        self._spell_began = now
        self._spell_ops = 0
        self._ops_per_spell = 0
        """Ops that had their outcomes within `LATE_S`, lately."""

    def applied(self, ops: int, sealed_at: float, now: float) -> None:
        """The ops of a batch have their outcomes."""
        self._applied_at = now
        if now - self._spell_began >= LATE_S:
            spells = (now - self._spell_began) / LATE_S
            self._ops_per_spell = int(self._spell_ops / spells)
            self._spell_began, self._spell_ops = now, 0
        self._spell_ops += ops
        if now - sealed_at <= LATE_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now

    def ops_max(self, now: float) -> float:
        """How many ops may wait and be under way, for them to have their outcomes in time (Little's
        law); infinity while outcomes come in time, or not at all.

        Late ones alone say nothing: after an election all are, and then no more. So they must have
        been late for `LATE_S`, and still come.
        """
        is_late = self._late_since is not None and now - self._late_since > LATE_S
        if not is_late or now - self._applied_at > LATE_S:
            return float("inf")
        return max(OPS_MIN, self._ops_per_spell)
