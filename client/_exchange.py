"""The client as a value that is stepped: tickets in, calls out, results out. No I/O, no clock.

Responsible for which tickets travel together and to which node, for retries, deadlines and bounds;
what is under way is kept by `_calls`. A shell does four things, in any order, and after each of
them carries out what `poll` returns, tells the waiters what `take_settled` returns, and looks again
at `next_due`:

* `submit` a ticket, or `abandon` one whose caller has gone;
* tell that a call was `answered` or has `failed`, or a write stream `answered_in_part` or
  `stream_failed`;
* `poll` when the time that `next_due` named has come;
* `close`.

Invariants:

* A ticket that was submitted is settled exactly once, at the latest a grace after its deadline,
  unless it is abandoned; then never.
* A ticket is in at most one call, and a retry carries the very same payload. The key of a create is
  minted before its first.
* No more than `pending_max` tickets are live.
"""

import heapq
import random
from collections import OrderedDict
from typing import Any, Final, NamedTuple

from globaltable.client._attempts import Attempts, Failure, FailureKind, backoff_s
from globaltable.client._calls import Call, Calls
from globaltable.client._creating import CreateTicket
from globaltable.client._deadlines import Deadlines
from globaltable.client._lanes import AnyTicket, Lane, OpeningLane, StatusLane, read_parts
from globaltable.client._minting import mint
from globaltable.client._nodes import Nodes
from globaltable.client._placements import ASK_TIMEOUT_S, PATIENCE_S, Placements
from globaltable.client._settings import GRACE_S, ClientClosed, Settings
from globaltable.errors import GlobalTableError, Overloaded, ProtocolError, Rejected

_PROBE_TIMEOUT_S: Final = 1.0
_FULL_RETRY_DELAY_S: Final = 0.05
_TIMEOUT_S_MIN: Final = 0.001

# A node none of whose outcomes is better than these has probably lost its majority.
_SAYS_CUT_OFF: Final = (FailureKind.NO_QUORUM, FailureKind.UNKNOWN)

_SAYS_NOTHING_HAPPENED: Final = (
    FailureKind.UNREACHED,
    FailureKind.NO_QUORUM,
    FailureKind.OVERLOADED,
)


class Settled(NamedTuple):
    """What a waiter is to be told."""

    waiter: Any
    value: Any
    error: GlobalTableError | None


class Exchange:
    """All that one client has under way."""

    def __init__(self, settings: Settings, now: float, chance: random.Random | None = None) -> None:
        self.nodes = Nodes(settings.addresses, now)
        self._settings = settings
        self._chance = chance or random.Random()
        # Keys are for the whole cluster, so what they are drawn from must be like no other's.
        self._draw = (chance or random.SystemRandom()).getrandbits
        self._live: Deadlines[AnyTicket] = Deadlines()
        self._queues: dict[Lane, OrderedDict[AnyTicket, None]] = {}
        self._delayed: list[tuple[float, int, AnyTicket]] = []
        self._delayed_count = 0
        self._calls = Calls()
        self._room_at = float("inf")
        """When a node that must not be sent more at present may be, if nothing is answered."""
        self._answering: set[int] = set()
        """Nodes whose present stream has carried an answer."""
        self._settled: list[Settled] = []
        self._placements = Placements(len(settings.addresses))
        self._unminted: OrderedDict[CreateTicket, float] = OrderedDict()
        """Creates without a key yet, and when they wait no longer for a node to say where."""
        self._probe_request = StatusLane().request(())
        self._opening: AnyTicket | None = None
        self.closed = False

    @property
    def pending(self) -> int:
        """The tickets that are live."""
        return len(self._live)

    # --- tickets ---------------------------------------------------------------------------------

    def submit(self, ticket: AnyTicket, now: float) -> None:
        """Take a ticket on. Raises ClientClosed, Overloaded."""
        if self.closed:
            raise ClientClosed(f"{ticket.subject}: the client is closed")
        if len(self._live) >= self._settings.pending_max:
            raise Overloaded(
                f"{ticket.subject}: {self._settings.pending_max} requests are waiting in this "
                "client already (pending_max)",
                _FULL_RETRY_DELAY_S,
            )
        ticket.deadline += now
        self._live.add(ticket, ticket.deadline)
        if isinstance(ticket.lane, OpeningLane):
            self._opening = ticket
        elif isinstance(ticket, CreateTicket):
            self._unminted[ticket] = now + PATIENCE_S
        else:
            self._enqueue(ticket)

    def abandon(self, ticket: AnyTicket) -> None:
        """The caller has gone: nothing more is sent or told for this ticket."""
        if not ticket.done:
            self._live.remove(ticket)
            self._end(ticket)

    def take_settled(self) -> list[Settled]:
        """The results that have come up since the last look."""
        settled, self._settled = self._settled, []
        return settled

    def close(self) -> None:
        """Settle every ticket; nothing is sent from now on."""
        self.closed = True
        for ticket in self._live.take_all():
            attempts = ticket.attempts or Attempts()
            error = attempts.closed_error(
                ticket.subject, ticket.lane.idempotent, ticket.calls > 0
            ) or ClientClosed(f"{ticket.subject}: the client was closed before it was answered")
            self._settle(ticket, None, error)

    # --- time ------------------------------------------------------------------------------------

    def poll(self, now: float) -> list[Call]:
        """What has become due: deadlines pass, retries and probes fall due, calls are made."""
        if self.closed:
            return []
        for ticket in self._live.take_due(now):
            self._pass_deadline(ticket)
        for late in self._calls.take_expired(now):
            self._expire(late, now)
        while self._delayed and self._delayed[0][0] <= now:
            ticket = heapq.heappop(self._delayed)[2]
            if not ticket.done:
                self._enqueue(ticket)
        if self._opening is not None:
            ready_at = self.nodes.ready_at()
            if ready_at is not None and ready_at <= now:
                self._finish(self._opening, None, None)
        if self._unminted:
            self._mint_what_can_be(now)
        calls = [
            Call("Status", node, self._probe_request, _PROBE_TIMEOUT_S, now, None)
            for node in self.nodes.take_probes(now)
        ]
        calls += [
            Call("Placement", node, b"", ASK_TIMEOUT_S, now, None)
            for node in self._placements.take_due()
        ]
        self._room_at = float("inf")
        for lane, queue in self._queues.items():
            while queue:
                call = self._pack(lane, queue, now)
                if call is None:
                    break
                calls.append(call)
        return calls

    def next_due(self) -> float | None:
        """When to `poll` again, if nothing happens before; None for not at all."""
        if self.closed:
            return None
        due = [self._live.next_due(), self._calls.next_expiry(), self.nodes.next_due()]
        if self._delayed:
            due.append(self._delayed[0][0])
        if self._opening is not None:
            due.append(self.nodes.ready_at())
        if self._unminted:
            due.append(next(iter(self._unminted.values())))
        if self._room_at < float("inf"):
            due.append(self._room_at)
        return min((when for when in due if when is not None), default=None)

    def _pass_deadline(self, ticket: AnyTicket) -> None:
        if ticket.calls and not ticket.in_grace:
            ticket.in_grace = True
            self._live.add(ticket, ticket.deadline + GRACE_S)
            return
        self._settle(ticket, None, self._deadline_error(ticket))

    def _deadline_error(self, ticket: AnyTicket) -> GlobalTableError:
        attempts = ticket.attempts or Attempts()
        if isinstance(ticket.lane, OpeningLane):
            return attempts.connect_error(ticket.subject)
        return attempts.deadline_error(ticket.subject, ticket.lane.idempotent, ticket.calls > 0)

    # --- creates ---------------------------------------------------------------------------------

    def _mint_what_can_be(self, now: float) -> None:
        """Give creates their keys: as the node that is asked first has said, or any if it has not
        said anything in time."""
        for ticket, patient_until in list(self._unminted.items()):
            node = self._choose(ticket)
            if not self._placements.look(node, now):
                if now < patient_until:
                    # Those behind it are more patient, and wait for the same word.
                    return
                self._placements.waited_for(node)
            del self._unminted[ticket]
            wanted = self._placements.wanted(node)
            key = mint(self._settings.table, ticket.prefix, wanted, self._draw)
            ticket.payload = ticket.payload._replace(key=key)
            self._enqueue(ticket)

    # --- calls -----------------------------------------------------------------------------------

    def _enqueue(self, ticket: AnyTicket, first: bool = False) -> None:
        queue = self._queues.get(ticket.lane)
        if queue is None:
            queue = self._queues[ticket.lane] = OrderedDict()
        queue[ticket] = None
        if first:
            queue.move_to_end(ticket, last=False)

    def _choose(self, ticket: AnyTicket) -> int:
        if ticket.pinned is not None:
            return ticket.pinned
        return self.nodes.next_for(ticket)

    def _pack(self, lane: Lane, queue: OrderedDict[AnyTicket, None], now: float) -> Call | None:
        """Put the head of the queue, and what follows it to the same node, into one call."""
        node = self._choose(next(iter(queue)))
        free_at = self._calls.free_at(lane, node)
        if free_at > now:
            self._room_at = min(self._room_at, free_at)
            return None
        tickets: list[AnyTicket] = []
        weight = 0
        deadline = now
        while queue:
            ticket = next(iter(queue))
            weight += ticket.weight
            if tickets and (weight > lane.weight_max or self._choose(ticket) != node):
                break
            del queue[ticket]
            tickets.append(ticket)
            deadline = max(deadline, ticket.deadline)
        remaining_s = min(deadline - now, self._settings.attempt_timeout_s)
        return self._calls.begin(lane, node, tickets, max(remaining_s, _TIMEOUT_S_MIN), now)

    def is_under_way(self, call: Call) -> bool:
        """Whether a streamed call still waits for an answer. If not, it must not be sent."""
        return not self.closed and self._calls.is_streamed(call)

    def answered(self, call: Call, data: bytes, now: float) -> None:
        """The node answered."""
        if call.method == "Placement":
            self._placements.answered(call.node, data)
            return
        if call.tickets is None:
            self.nodes.probe_answered(call.node, now - call.sent_at, now)
            return
        tickets = self._calls.landed(call)
        self._take_answers(call.node, tickets, tickets[0].lane.read(tickets, data), now)

    def answered_in_part(self, node: int, data: bytes, now: float) -> None:
        """A message came on the node's write stream."""
        self._answering.add(node)
        try:
            parts = read_parts(data)
        except ProtocolError as error:
            failure = Failure(FailureKind.FINAL, str(error), error=error)
            self._fail_all_on_stream(node, failure, now)
            return
        tickets, answers = self._calls.answered_in_part(node, parts)
        if tickets:
            self._take_answers(node, tickets, answers, now)

    def _take_answers(
        self, node: int, tickets: list[AnyTicket], answers: list[Any], now: float
    ) -> None:
        if all(isinstance(a, Failure) and a.kind in _SAYS_CUT_OFF for a in answers):
            self.nodes.failed(node, now)
        else:
            self.nodes.answered(node)
        for ticket, answer in zip(tickets, answers, strict=True):
            if ticket.done:
                continue
            if isinstance(answer, Failure):
                self._attempt_failed(ticket, node, answer, now)
            elif isinstance(answer, GlobalTableError):
                self._finish(ticket, None, answer)
            else:
                self._finish(ticket, answer, None)

    def failed(self, call: Call, failure: Failure, now: float) -> None:
        """The call ended without an answer."""
        if call.method == "Placement":
            # Nothing is held against the node: a create can do without.
            self._placements.failed(call.node)
            return
        if call.tickets is None:
            self._probe_failed(call, failure, now)
            return
        tickets = self._calls.landed(call)
        self.note_failure(call.node, failure, now, call.timeout_s)
        for ticket in tickets:
            self._attempt_failed(ticket, call.node, failure, now)

    def stream_failed(self, node: int, failure: Failure, now: float) -> None:
        """The node's write stream is over, and with it all that was under way on it.

        Once it has carried an answer, no refusal of the stream as a whole says that what was under
        way on it did not happen: whoever ended it need not have been the node.
        """
        denies = isinstance(failure.error, Rejected) or failure.kind in _SAYS_NOTHING_HAPPENED
        if node in self._answering and denies:
            failure = Failure(FailureKind.UNKNOWN, failure.message)
        self._answering.discard(node)
        self._fail_all_on_stream(node, failure, now)

    def _fail_all_on_stream(self, node: int, failure: Failure, now: float) -> None:
        self.note_failure(node, failure, now, 0.0)
        for ticket in self._calls.stream_ended(node):
            self._attempt_failed(ticket, node, failure, now)

    def _expire(self, call: Call, now: float) -> None:
        """A streamed call has waited for as long as a node is given."""
        message = f"the node did not answer within {call.timeout_s:.3g} s"
        self.failed(call, Failure(FailureKind.UNKNOWN, message, timed_out=True), now)

    def note_failure(self, node: int, failure: Failure, now: float, waited_s: float) -> None:
        """Hold a failure against the node, as far as it says something of it."""
        if failure.kind in (FailureKind.FINAL, FailureKind.OVERLOADED):
            self.nodes.answered(node)
        elif failure.timed_out and waited_s < self._settings.attempt_timeout_s:
            self.nodes.suspected(node, now)
        else:
            self.nodes.failed(node, now)

    def _probe_failed(self, call: Call, failure: Failure, now: float) -> None:
        if failure.kind is FailureKind.FINAL:
            # It answers. What it refuses, a caller will be told when asking for it.
            self.nodes.probe_answered(call.node, now - call.sent_at, now)
            return
        self.nodes.probe_failed(call.node, now)
        if self._opening is not None:
            if self._opening.attempts is None:
                self._opening.attempts = Attempts()
            self._opening.attempts.record(failure)

    # --- retries ---------------------------------------------------------------------------------

    def _attempt_failed(self, ticket: AnyTicket, node: int, failure: Failure, now: float) -> None:
        if ticket.done:
            return
        attempts = ticket.attempts
        if attempts is None:
            attempts = ticket.attempts = Attempts()
        if failure.kind is FailureKind.FINAL:
            error = attempts.final_error(failure, ticket.subject, ticket.lane.idempotent)
            self._finish(ticket, None, error)
            return
        attempts.record(failure)
        if ticket.deadline <= now:
            self._finish(ticket, None, self._deadline_error(ticket))
            return
        ticket.avoided |= 1 << node
        overloaded = failure.kind is FailureKind.OVERLOADED
        if not overloaded:
            # Perhaps its group has lost its leader, though the node serves others as before.
            self._placements.doubt(node)
        if not overloaded and ticket.pinned is None:
            if self.nodes.choose(ticket.avoided) is not None:
                # Another node has not been asked yet: no reason to wait.
                self._enqueue(ticket, first=True)
                return
            ticket.avoided = 0
        attempts.rounds += 1
        delay_s = backoff_s(attempts.rounds, self._chance)
        if overloaded:
            delay_s += failure.retry_delay_s
        self._delayed_count += 1
        heapq.heappush(self._delayed, (now + delay_s, self._delayed_count, ticket))

    # --- ends ------------------------------------------------------------------------------------

    def _finish(self, ticket: AnyTicket, value: Any, error: GlobalTableError | None) -> None:
        self._live.remove(ticket)
        self._settle(ticket, value, error)

    def _settle(self, ticket: AnyTicket, value: Any, error: GlobalTableError | None) -> None:
        self._end(ticket)
        self._settled.append(Settled(ticket.waiter, value, error))

    def _end(self, ticket: AnyTicket) -> None:
        assert not ticket.done, "a ticket is settled once"
        ticket.done = True
        if ticket is self._opening:
            self._opening = None
        queue = self._queues.get(ticket.lane)
        if queue is not None:
            queue.pop(ticket, None)
        if self._unminted and isinstance(ticket, CreateTicket):
            self._unminted.pop(ticket, None)
