"""Calls: tickets on their way to one node, from the request that carries them to its last answer.

Responsible for which calls are under way, for how many a node is sent at a time, for how long one
on a write stream may wait, and for which ticket an answer on a stream belongs to. Which tickets
travel together, and what becomes of them, is the exchange's. No I/O, no clock.

Invariants:

* A ticket is in at most one call.
* What a call takes from a node's room it gives back once: when it has landed, or when the last of
  its tickets is answered. What comes for it after that is not heeded.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._deadlines import Deadlines
from globaltable.client._lanes import AnyTicket, Lane, WriteLane, WritePart, read_outcome
from globaltable.client._settings import GRACE_S
from globaltable.client._spacing import Spacing
from globaltable.client._window import Window


class Call:
    """One request to one node, to be sent by the shell: over a stream if it has a number."""

    __slots__ = ("bucket", "method", "node", "number", "request", "sent_at", "tickets", "timeout_s")

    def __init__(
        self,
        method: str,
        node: int,
        request: bytes,
        timeout_s: float,
        sent_at: float,
        tickets: dict[int, AnyTicket] | None,
        number: int | None = None,
    ) -> None:
        self.method = method
        self.node = node
        self.request = request
        self.timeout_s = timeout_s
        self.sent_at = sent_at
        self.tickets = tickets
        """By position, those that wait for an answer; None for what the exchange asks by itself:
        a probe, or a placement."""
        self.number = number
        self.bucket = 0


class Calls:
    """Those of one client that carry tickets and are under way."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Lane, int], int] = {}
        self._streamed: dict[int, Call] = {}
        self._numbers = itertools.count(1)
        self._expiring: Deadlines[Call] = Deadlines()
        self._spacing = Spacing()
        self._window = Window()

    def free_at(self, lane: Lane, node: int, now: float) -> float:
        """When the node may be sent another call, if none is answered before."""
        if self._counts.get((lane, node), 0) >= lane.calls_max:
            return float("inf")
        if not isinstance(lane, WriteLane):
            return float("-inf")
        return max(self._spacing.free_at(node), self._window.free_at(node, now))

    def weight_max(self, lane: Lane, node: int, now: float) -> int:
        """What the next call to the node may weigh, as it is `free_at` now."""
        if not isinstance(lane, WriteLane):
            return lane.weight_max
        return min(lane.weight_max, self._window.room(node, now))

    def too_late(self, lane: Lane, node: int, now: float) -> float:
        """The deadline before which the node is so busy that no answer would come: to ask would be
        work for nobody, in the place of others that can still be answered."""
        if not isinstance(lane, WriteLane):
            return float("-inf")
        expected_s = self._window.expected_s(node)
        return now + expected_s if expected_s else float("-inf")

    def begin(
        self, lane: Lane, node: int, tickets: Sequence[AnyTicket], timeout_s: float, now: float
    ) -> Call:
        """The call that carries these to the node, which is given so long to answer."""
        self._counts[lane, node] = self._counts.get((lane, node), 0) + 1
        payloads = []
        for ticket in tickets:
            assert ticket.calls == 0, "a ticket is in one call at a time"
            ticket.calls = 1
            payloads.append(ticket.payload)
        carried = dict(enumerate(tickets))
        if not isinstance(lane, WriteLane):
            request = lane.request(payloads)
            return Call(lane.method, node, request, timeout_s + GRACE_S, now, carried)
        number = next(self._numbers)
        request = lane.numbered_request(number, payloads, timeout_s)
        call = Call(lane.method, node, request, timeout_s + GRACE_S, now, carried, number)
        self._streamed[number] = call
        self._spacing.sent(node, number, now)
        self._window.sent(node, number, len(carried), now)
        self._expiring.add(call, now + call.timeout_s)
        return call

    def is_streamed(self, call: Call) -> bool:
        """Whether it is under way on a stream, and waits for an answer."""
        return call.number in self._streamed

    def landed(self, call: Call) -> list[AnyTicket]:
        """The call is over; what it still carried."""
        assert call.tickets, "a call carries at least one ticket"
        tickets = list(call.tickets.values())
        call.tickets.clear()
        for ticket in tickets:
            assert ticket.calls == 1, "a ticket is in one call at a time"
            ticket.calls = 0
        if call.number is not None:
            self._window.gone(call.node, call.number, len(tickets))
        self._give_back(call, tickets[0].lane)
        return tickets

    def answered_in_part(
        self, node: int, parts: Iterable[WritePart], now: float
    ) -> tuple[list[AnyTicket], list[Any]]:
        """Parts came on the node's write stream; the tickets they answer, and the answers."""
        tickets: list[AnyTicket] = []
        answers: list[Any] = []
        for part in parts:
            call = self._streamed.get(part.number)
            if call is None or call.node != node:
                # Given up already, and perhaps asked elsewhere: what counts is that answer.
                continue
            assert call.tickets is not None, "a probe has no number"
            self._spacing.answered(node, part.number)
            before = len(answers)
            for position, outcome in zip(part.positions, part.outcomes, strict=True):
                ticket = call.tickets.pop(position, None)
                if ticket is not None:
                    ticket.calls = 0
                    tickets.append(ticket)
                    answers.append(read_outcome(ticket.payload, outcome, part.retry_delay_s))
            self._note_answers(call, answers[before:], now)
            if not call.tickets:
                self._expiring.remove(call)
                self._give_back(call, tickets[-1].lane)
        return tickets, answers

    def _note_answers(self, call: Call, answers: Sequence[Any], now: float) -> None:
        """What answers say of how much the node can do."""
        assert call.number is not None, "only streams are answered in parts"
        if not answers:
            return
        self._window.gone(call.node, call.number, len(answers))
        failed = [answer for answer in answers if isinstance(answer, Failure)]
        if len(failed) < len(answers):
            self._window.outcomes(call.node, len(answers) - len(failed), call.sent_at, now)
        delays_s = [one.retry_delay_s for one in failed if one.kind is FailureKind.OVERLOADED]
        if delays_s:
            self._window.refused(call.node, len(delays_s), call.sent_at, now, max(delays_s))

    def stream_ended(self, node: int) -> list[AnyTicket]:
        """Nothing more comes on the node's write stream; what was under way on it."""
        tickets = []
        for call in [call for call in self._streamed.values() if call.node == node]:
            self._expiring.remove(call)
            tickets += self.landed(call)
        return tickets

    def take_expired(self, now: float) -> list[Call]:
        """Those on streams that have waited for as long as a node is given: they must land now."""
        return self._expiring.take_due(now)

    def next_expiry(self) -> float | None:
        """When to look for expired ones again."""
        return self._expiring.next_due()

    def _give_back(self, call: Call, lane: Lane) -> None:
        self._counts[lane, call.node] -= 1
        if call.number is not None:
            del self._streamed[call.number]
            self._spacing.answered(call.node, call.number)
