"""What is measured while a node works: how long writes take, phase by phase, and how ops end.

The driver tells of what it does; nothing here decides anything. Phases are recorded once a batch or
once a turn, never once an op, so that they cost little and need not be turned off. What stands
somewhere already (terms, logs, queues, links) is not kept here but read when it is asked for
(`metrics.collector`).

The phases of a write, at the node that it entered:

* `queue`: from its submission until its batch is sealed, that is proposed to the leader;
* `replicate`: from then until the batch has been committed and applied here;
* beside them, for every turn of this node: `persist`, until the log is synced, waiting for an
  earlier sync included; and `apply`, what the loop spends to apply and to tell of what a turn has
  committed.

Invariant: labels are bounded: tables by the configuration, groups by the topology, outcomes and
phases by their enumerations.
"""

import enum
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Final

from globaltable.model import SEPARATOR, Op, Outcome, OutcomeStatus
from globaltable.proposals import Proposal, Settled
from globaltable.server.histogram import Histogram

_status_of: Final = itemgetter(0)

Told = Callable[[Sequence[int], Sequence[Outcome]], None]
"""Told how some ops ended: their positions, and an outcome for each. Each op is told of once."""


class Phase(enum.Enum):
    """See the module's head."""

    QUEUE = "queue"
    REPLICATE = "replicate"
    PERSIST = "persist"
    APPLY = "apply"


class Ticket:
    """Ops of one group that came together: whom to tell, of which positions, and when they got
    how far, in seconds of the measures' clock; 0.0 until then."""

    __slots__ = ("group", "ops", "positions", "sealed_at", "submitted_at", "told")

    def __init__(
        self,
        told: Told,
        positions: Sequence[int],
        group: int,
        ops: Sequence[Op],
        submitted_at: float,
    ) -> None:
        self.told = told
        self.positions = positions
        self.group = group
        self.ops = ops
        self.submitted_at = submitted_at
        self.sealed_at = 0.0


class Measures:
    """Of one node, since it was started. Used on the loop's thread only."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` in seconds from anywhere, finer than the event loop's: that one's counts whole
        milliseconds."""
        self.now = now
        self.commit = Histogram()
        """Of each batch, from the submission of what waited longest in it until it was told of."""
        self.phases = {phase: Histogram() for phase in Phase}
        self.requests: dict[tuple[str, str], Histogram] = {}
        """By method and table."""
        self.ops: Counter[tuple[str, OutcomeStatus]] = Counter()
        """How ops ended, by table."""
        self.keys_read: Counter[tuple[str, bool]] = Counter()
        """By table, and whether the read was linearizable."""
        self.loop_lag = Histogram()
        """How late the loop came to what was due."""
        self.leader_changes: Counter[int] = Counter()
        """By group."""
        self._persisting: deque[float] = deque()
        self._listeners: list[Callable[[Ticket, Sequence[Outcome], float], None]] = []

    def listen(self, listener: Callable[[Ticket, Sequence[Outcome], float], None]) -> None:
        """Have `listener` told of each ticket that ends, how, and when."""
        self._listeners.append(listener)

    # --- what the driver tells -------------------------------------------------------------------

    def refused(self, ops: Sequence[Op], status: OutcomeStatus) -> None:
        """Ops that were not queued."""
        if ops:
            self.ops[_table_of(ops), status] += len(ops)

    def sealed(self, proposals: Iterable[Proposal]) -> None:
        """Batches have begun their way into the log."""
        now = self.now()
        queue = self.phases[Phase.QUEUE]
        for proposal in proposals:
            first: Ticket | None = None
            for segment in proposal.segments:
                ticket = segment.ticket
                if isinstance(ticket, Ticket):
                    ticket.sealed_at = now
                    first = first or ticket
            if first is not None:
                queue.observe(now - first.submitted_at)

    def persist_begun(self) -> None:
        """A turn was handed to the log. Turns are persisted in this order."""
        self._persisting.append(self.now())

    def persisted(self, turns: int) -> None:
        now = self.now()
        persist = self.phases[Phase.PERSIST]
        for _ in range(turns):
            persist.observe(now - self._persisting.popleft())

    @property
    def persisting_for_s(self) -> float:
        """How long the log has been at its oldest turn; 0.0 if at none."""
        return self.now() - self._persisting[0] if self._persisting else 0.0

    def applied(self, began: float) -> None:
        """A turn's commits were applied and told of, which began at `began`."""
        self.phases[Phase.APPLY].observe(self.now() - began)

    def ended(self, settled: Iterable[Settled]) -> None:
        """Tickets have ended. Those of one batch come one after the other; what was sealed in one
        step of a group counts as one batch."""
        now = self.now()
        batch = (-1, 0.0)
        for ticket, outcomes in settled:
            if ticket.ops and outcomes:
                table = _table_of(ticket.ops)
                if len(outcomes) == 1:
                    self.ops[table, outcomes[0].status] += 1
                else:
                    for status, count in Counter(map(_status_of, outcomes)).items():
                        self.ops[table, status] += count
            if ticket.sealed_at and (ticket.group, ticket.sealed_at) != batch:
                batch = (ticket.group, ticket.sealed_at)
                self.phases[Phase.REPLICATE].observe(now - ticket.sealed_at)
                self.commit.observe(now - ticket.submitted_at)
            for listener in self._listeners:
                listener(ticket, outcomes, now)

    # --- what the service tells ------------------------------------------------------------------

    def request(self, method: str, table: str, began: float) -> None:
        """A request was answered. `table` is one that the cluster has."""
        histogram = self.requests.get((method, table))
        if histogram is None:
            histogram = self.requests[method, table] = Histogram()
        histogram.observe(self.now() - began)


def _table_of(ops: Sequence[Op]) -> str:
    """Of a request, which is on one table."""
    return ops[0].name.partition(SEPARATOR)[0].decode()
