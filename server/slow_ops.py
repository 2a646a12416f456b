"""A line for each op that took too long, with the phase that it took it in.

Ops that came together to one group and went in one batch took the same time, and share a line. It
names the first key, for whoever is asked about one session.

Invariant: at most `LINES_MAX` lines in `PERIOD_S`; how many were left out is told with the next.
When everything is slow, the log must not make it slower.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog

from globaltable.model import Outcome, split_name
from globaltable.server.core import NodeCore
from globaltable.server.measures import Ticket

LINES_MAX: Final = 10
PERIOD_S: Final = 1.0

log = structlog.get_logger(__name__)


class SlowOps:
    """Told of each ticket that ends (`Measures.listen`)."""

    def __init__(self, core: NodeCore, slow_s: float) -> None:
        """`slow_s`: what takes longer gets a line."""
        self._core = core
        self._slow_s = slow_s
        self._period_ends_at = float("-inf")
        self._lines = 0
        self._left_out = 0

    def ended(self, ticket: Ticket, outcomes: Sequence[Outcome], now: float) -> None:
        """At `now`, of the measures' clock."""
        if now - ticket.submitted_at <= self._slow_s:
            return
        if now >= self._period_ends_at:
            self._period_ends_at = now + PERIOD_S
            self._lines = 0
        if self._lines == LINES_MAX:
            self._left_out += 1
            return
        self._lines += 1
        self._tell(ticket, outcomes, now)

    def _tell(self, ticket: Ticket, outcomes: Sequence[Outcome], now: float) -> None:
        sealed_at = ticket.sealed_at or now
        table, key = split_name(ticket.ops[0].name) if ticket.ops else ("", "")
        replica = self._core.replicas.get(ticket.group)
        leader = replica.guard.leader if replica is not None else None
        left_out, self._left_out = self._left_out, 0
        log.warning(
            "slow op" if ticket.ops else "slow read barrier",
            ms=_ms(now - ticket.submitted_at),
            queue_ms=_ms(sealed_at - ticket.submitted_at),
            replicate_ms=_ms(now - sealed_at),
            group=ticket.group,
            leader=leader,
            **({"table": table, "key": key, "ops": len(ticket.ops)} if ticket.ops else {}),
            outcomes=dict(Counter(outcome.status.name.lower() for outcome in outcomes)),
            **({"left_out": left_out} if left_out else {}),
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
