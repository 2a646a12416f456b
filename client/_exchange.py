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
* No more than `pending_max` tickets are live, a read that is asked for in parts counted with them.
* A ticket goes to a node that holds what it asks for, by the newest topology there is word of.
"""

import random
from typing import Any, Final, NamedTuple

from globaltable.client._attempts import Attempts, Failure, FailureKind, backoff_s
from globaltable.client._calls import Call, Calls
from globaltable.client._creating import CreateTicket
from globaltable.client._deadlines import Deadlines
from globaltable.client._delays import Delays
from globaltable.client._gathering import Gathering, ReadPart
from globaltable.client._lanes import AnyTicket, Lane, OpeningLane, read_parts
from globaltable.client._nodes import Nodes
from globaltable.client._queues import Queue, Queues
from globaltable.client._routes import Routes, read_topology, topology_request
from globaltable.client._settings import GRACE_S, ClientClosed, Settings
from globaltable.client._unminted import Unminted
from globaltable.errors import GlobalTableError, Overloaded, ProtocolError, Rejected

_PROBE_TIMEOUT_S: Final = 1.0
_LOOK_S: Final = 3.0
"""How often a client that is in use asks the nearest node for a newer topology."""
_FULL_RETRY_DELAY_S: Final = 0.05
_PROMPT_ROUNDS: Final = 8
"""Of all nodes that may hold something, before who finds it nowhere asks less often."""
_TIMEOUT_S_MIN: Final = 0.001

# A node none of whose outcomes is better than these has probably lost its majority.
_SAYS_CUT_OFF: Final = (FailureKind.NO_QUORUM, FailureKind.UNKNOWN)

_SAYS_NOTHING_HAPPENED: Final = (
    FailureKind.UNREACHED,
    FailureKind.NO_QUORUM,
    FailureKind.ELSEWHERE,
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
        self._live: Deadlines[AnyTicket] = Deadlines()
        self.routes = Routes(settings.table)
        self._queues = Queues()
        self._parted: dict[AnyTicket, Gathering] = {}
        """Reads that no node can answer alone; they are live in their parts."""
        self._needless: list[ReadPart] = []
        """Parts of what has ended."""
        self._looked_at = now
        self.watching = 0
        """Watches that must learn of groups that are new."""
        self._delayed = Delays()
        self._calls = Calls()
        self._room_at = float("inf")
        """When a node that must not be sent more at present may be, if nothing is answered."""
        self._answering: set[int] = set()
        """Nodes whose present stream has carried an answer."""
        self._settled: list[Settled] = []
        self._unminted = Unminted(settings.table, (chance or random.SystemRandom()).getrandbits)
        self._opening: AnyTicket | None = None
        self.closed = False

    @property
    def pending(self) -> int:
        """The tickets that are live."""
        return len(self._live) + len(self._parted)

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
            self._unminted.add(ticket, now)
        else:
            self._enqueue(ticket)

    def abandon(self, ticket: AnyTicket) -> None:
        """The caller has gone: nothing more is sent or told for this ticket."""
        if ticket.done:
            return
        gathering = self._parted.pop(ticket, None)
        if gathering is None:
            self._live.remove(ticket)
        else:
            for part in gathering.parts:
                self.abandon(part)
        self._end(ticket)

    def take_settled(self) -> list[Settled]:
        """The results that have come up since the last look."""
        settled, self._settled = self._settled, []
        return settled

    def close(self) -> None:
        """Settle every ticket; nothing is sent from now on."""
        self.closed = True
        for ticket in self._live.take_all():
            if ticket.done:
                continue
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
        for ticket in self._delayed.take_due(now):
            self._enqueue(ticket)
        if self._opening is not None:
            ready_at = self.nodes.ready_at()
            if ready_at is not None and ready_at <= now:
                self._finish(self._opening, None, None)
        if self._unminted:
            for minted in self._unminted.mint(self.nodes.nearest(), self.routes, now):
                self._enqueue(minted)
        self._drop_needless()
        if now - self._looked_at >= _LOOK_S and (self._live or self.watching):
            self._looked_at = now
            self.nodes.look(now)
        calls = [
            Call("Topology", node, self._topology_request(), _PROBE_TIMEOUT_S, now, None)
            for node in self.nodes.take_probes(now)
        ]
        calls += self._unminted.take_calls(now)
        self._room_at = float("inf")
        for lane, queue in self._queues.each():
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
        due = [
            self._live.next_due(),
            self._calls.next_expiry(),
            self.nodes.next_due(),
            self._delayed.next_due(),
            self._unminted.next_due(),
        ]
        if self._opening is not None:
            due.append(self.nodes.ready_at())
        if self._room_at < float("inf"):
            due.append(self._room_at)
        if self.watching:
            due.append(self._looked_at + _LOOK_S)
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

    # --- the topology ----------------------------------------------------------------------------

    def _topology_request(self) -> bytes:
        return topology_request(self._settings.table, self.routes.known)

    def _learn(self, node: int, data: bytes, now: float) -> None:
        """A node has said who it is, and what it knows of who holds what."""
        said = read_topology(data)
        renamed = self.nodes.is_named(node, said.node)
        topology = self.routes.known
        if said.topology is not None and self.routes.is_news(said.topology):
            topology = said.topology
        elif not renamed or topology is None:
            return
        self.nodes.learn(topology.nodes, now, discover=self._settings.discover)
        if self.routes.learn(topology, self.nodes.numbers_of):
            self._route_anew()

    def _route_anew(self) -> None:
        for ticket in self._queues.take_all():
            self._enqueue(ticket)

    # --- reads in parts --------------------------------------------------------------------------

    def _part(self, ticket: AnyTicket) -> None:
        """No node holds all that is asked for: ask for it in parts."""
        self._live.remove(ticket)
        gathering = self._parted[ticket] = Gathering(ticket, self.routes)
        for part in gathering.parts:
            self._live.add(part, part.deadline)
            self._enqueue(part)

    def _part_ended(self, part: ReadPart, value: Any, error: GlobalTableError | None) -> None:
        gathering = self._parted.get(part.whole)
        if gathering is None:
            return
        if error is None and not gathering.took(part, value):
            return
        del self._parted[part.whole]
        self._needless += [other for other in gathering.parts if not other.done]
        self._settle(part.whole, gathering.values, error)

    def _drop_needless(self) -> None:
        needless, self._needless = self._needless, []
        for part in needless:
            self.abandon(part)

    # --- calls -----------------------------------------------------------------------------------

    def _enqueue(self, ticket: AnyTicket, first: bool = False) -> None:
        route = ticket.lane.route(ticket.payload, self.routes)
        if route is None:
            self._part(ticket)
            return
        self._queues.put(ticket, route, first=first)

    def _choose(self, ticket: AnyTicket) -> int:
        if ticket.pinned is not None:
            return ticket.pinned
        return self.nodes.next_for(ticket, ticket.route)

    def _pack(
        self,
        lane: Lane,
        queue: Queue,
        now: float,
    ) -> Call | None:
        """Put the head of the queue, and what follows it to the same node, into one call; and from
        the other queues of its kind too what goes there."""
        node = self._next_node(queue, lane, now)
        if node is None:
            return None
        free_at = self._calls.free_at(lane, node, now)
        if free_at > now:
            self._room_at = min(self._room_at, free_at)
            return None
        weight_max = self._calls.weight_max(lane, node, now)
        tickets = self._queues.take(lane, queue, node, weight_max, self._choose)
        deadline = max(now, *(ticket.deadline for ticket in tickets))
        remaining_s = min(deadline - now, self._settings.attempt_timeout_s)
        return self._calls.begin(lane, node, tickets, max(remaining_s, _TIMEOUT_S_MIN), now)

    def _next_node(self, queue: Queue, lane: Lane, now: float) -> int | None:
        """Where the head of the queue goes. Those that no node would answer in time are refused
        first; None if no others are left."""
        while queue:
            ticket = next(iter(queue))
            node = self._choose(ticket)
            if ticket.deadline >= self._calls.too_late(lane, node, now):
                return node
            self._finish(ticket, None, self._turn_error(ticket))
        return None

    def _turn_error(self, ticket: AnyTicket) -> GlobalTableError:
        attempts = ticket.attempts or Attempts()
        return attempts.turn_error(ticket.subject, ticket.lane.idempotent)

    def is_under_way(self, call: Call) -> bool:
        """Whether a streamed call still waits for an answer. If not, it must not be sent."""
        return not self.closed and self._calls.is_streamed(call)

    def answered(self, call: Call, data: bytes, now: float) -> None:
        """The node answered."""
        if call.method == "Placement":
            self._unminted.answered(call.node, data)
            return
        if call.tickets is None:
            self.nodes.probe_answered(call.node, now - call.sent_at, now)
            self._learn(call.node, data, now)
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
        tickets, answers = self._calls.answered_in_part(node, parts, now)
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
            self._unminted.failed(call.node)
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
        if failure.kind is FailureKind.ELSEWHERE:
            self.nodes.answered(node)
            # What was known of it was wrong, or is by now.
            self.nodes.suspected(node, now)
        elif failure.kind in (FailureKind.FINAL, FailureKind.OVERLOADED):
            self.nodes.answered(node)
        elif failure.timed_out and waited_s < self._settings.attempt_timeout_s:
            self.nodes.suspected(node, now)
        else:
            self.nodes.failed(node, now)

    def _probe_failed(self, call: Call, failure: Failure, now: float) -> None:
        if failure.kind in (FailureKind.FINAL, FailureKind.OVERLOADED):
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
        if failure.kind is FailureKind.ELSEWHERE:
            self.nodes.suspected(node, now)
            if ticket.lane.route(ticket.payload, self.routes) != ticket.route:
                # Who holds it has been learnt meanwhile.
                ticket.avoided = 0
                self._enqueue(ticket, first=True)
                return
        overloaded = failure.kind is FailureKind.OVERLOADED
        if not overloaded:
            # Perhaps its group has lost its leader, though the node serves others as before.
            self._unminted.doubt(node)
        if not overloaded and ticket.pinned is None:
            if self.nodes.choose(ticket.avoided, ticket.route) is not None:
                # Another node has not been asked yet: no reason to wait.
                self._enqueue(ticket, first=True)
                return
            ticket.avoided = 0
        attempts.rounds += 1
        rounds = attempts.rounds
        if failure.kind is FailureKind.ELSEWHERE:
            # Its slot is probably just going from one group to another, which takes but a moment.
            rounds = max(1, rounds - _PROMPT_ROUNDS)
        delay_s = backoff_s(rounds, self._chance)
        if overloaded:
            delay_s += failure.retry_delay_s
        self._delayed.put(ticket, now + delay_s)

    # --- ends ------------------------------------------------------------------------------------

    def _finish(self, ticket: AnyTicket, value: Any, error: GlobalTableError | None) -> None:
        self._live.remove(ticket)
        self._settle(ticket, value, error)

    def _settle(self, ticket: AnyTicket, value: Any, error: GlobalTableError | None) -> None:
        self._end(ticket)
        if isinstance(ticket, ReadPart):
            self._part_ended(ticket, value, error)
        else:
            self._settled.append(Settled(ticket.waiter, value, error))

    def _end(self, ticket: AnyTicket) -> None:
        assert not ticket.done, "a ticket is settled once"
        ticket.done = True
        if ticket is self._opening:
            self._opening = None
        if ticket.queue is not None:
            ticket.queue.pop(ticket, None)
        if isinstance(ticket, CreateTicket):
            self._unminted.discard(ticket)
