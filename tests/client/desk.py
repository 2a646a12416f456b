"""An exchange driven by hand: what it would send, what its callers are told, at what time."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._base import BaseGlobalTable
from globaltable.client._calls import Call
from globaltable.client._deadlines import BUCKET_S
from globaltable.client._exchange import Exchange
from globaltable.client._lanes import AnyTicket
from globaltable.client._settings import USE_CLIENT_DEFAULT, Settings, Timeout
from globaltable.errors import GlobalTableError
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.topologies import everywhere
from tests.columns import stream_part, write_in

TABLE = "im.session"
ADDRESSES = ("a:1", "b:1", "c:1")


class Desk:
    """One client's exchange, its clock, and its callers, each known by a number."""

    def __init__(self, *round_trips_s: float, **settings: Any) -> None:
        """Every node for which a round trip is given is up, at that distance."""
        self.settings = Settings(ADDRESSES, TABLE, **settings)
        self.now = 100.0
        self.exchange = Exchange(self.settings, self.now, random.Random(1))
        self.tickets: list[AnyTicket] = []
        self.told: dict[int, Any] = {}
        """By caller: the value or the error."""
        self.topology = everywhere(*self.settings.addresses).SerializeToString()
        """What nodes say."""
        self._base = BaseGlobalTable(self.settings)
        if round_trips_s:
            self._bring_up(round_trips_s)

    def _bring_up(self, round_trips_s: tuple[float, ...]) -> None:
        for _ in range(2):
            probes = self.exchange.poll(self.now)
            started_at = self.now
            by_arrival = sorted(probes, key=lambda probe: round_trips_s[probe.node])
            for probe in by_arrival:
                assert probe.tickets is None
                self.now = started_at + round_trips_s[probe.node]
                self.exchange.answered(probe, self.topology, self.now)
        assert self.exchange.poll(self.now) == []

    # --- callers ---------------------------------------------------------------------------------

    def ask(self, ticket: AnyTicket) -> int:
        """A caller asks; its number."""
        ticket.waiter = number = len(self.tickets)
        self.exchange.submit(ticket, self.now)
        self.tickets.append(ticket)
        return number

    def bind(self, key: str = "k", unit: str = "A", timeout: Timeout = USE_CLIENT_DEFAULT) -> int:
        return self.ask(self._base._bind_ticket(key, unit, timeout))

    def create(
        self, unit: str = "A", prefix: str = "", timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> int:
        return self.ask(self._base._create_ticket(unit, prefix, timeout))

    def get(
        self, *keys: str, linearizable: bool = False, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> int:
        return self.ask(self._base._get_ticket(keys, linearizable, timeout))

    def status(self, address: str) -> int:
        return self.ask(self._base._status_ticket(address, USE_CLIENT_DEFAULT))

    def open(self) -> int:
        return self.ask(self._base._opening_ticket())

    # --- the shell -------------------------------------------------------------------------------

    def poll(self) -> list[Call]:
        """What would be sent now, probes included."""
        calls = self.exchange.poll(self.now)
        self._tell()
        return calls

    def calls(self) -> list[Call]:
        """What would be sent now for the callers."""
        return [call for call in self.poll() if call.tickets is not None]

    def call(self) -> Call:
        """The one call that would be sent now."""
        (call,) = self.calls()
        return call

    def answer(self, call: Call, *outcomes: pb.Outcome, retry_delay_ms: int = 0) -> None:
        """The node answers all ops of a request, in their order and in one part."""
        self.answer_some(call, dict(enumerate(outcomes)), retry_delay_ms)

    def answer_some(
        self, call: Call, outcomes: Mapping[int, pb.Outcome], retry_delay_ms: int = 0
    ) -> None:
        """The node answers the ops at these positions of a request."""
        parts = [part(call, outcomes)]
        response = pb.WriteStreamResponse(parts=parts, retry_delay_ms=retry_delay_ms)
        self.receive(call.node, response.SerializeToString())

    def receive(self, node: int, data: bytes) -> None:
        """A message comes on the node's write stream."""
        self.exchange.answered_in_part(node, data, self.now)
        self._tell()

    def answer_bytes(self, call: Call, data: bytes) -> None:
        """The node answers what does not travel on a stream."""
        self.exchange.answered(call, data, self.now)
        self._tell()

    def fail(self, call: Call, failure: Failure) -> None:
        """The call ends without an answer: if it was streamed, with all of its node's stream."""
        if call.number is not None:
            self.break_stream(call.node, failure)
            return
        self.exchange.failed(call, failure, self.now)
        self._tell()

    def break_stream(self, node: int, failure: Failure) -> None:
        """The node's write stream ends."""
        self.exchange.stream_failed(node, failure, self.now)
        self._tell()

    def time_out(self, call: Call) -> None:
        """Let the time pass that the node is given for a streamed call, and no more."""
        self.now = max(self.now, call.sent_at + call.timeout_s + BUCKET_S)

    def abandon(self, number: int) -> None:
        self.exchange.abandon(self.tickets[number])

    def close(self) -> None:
        self.exchange.close()
        self._tell()

    def wait(self) -> None:
        """Until the exchange asks to be looked at again."""
        due = self.exchange.next_due()
        assert due is not None, "nothing is due"
        self.now = max(self.now, due)

    def until(self, reached: Callable[[], object], serve: Callable[[Call], None]) -> None:
        """Let time pass, each call being served as it is made, probes too."""
        for _ in range(10_000):
            calls = self.poll()
            for call in calls:
                serve(call)
            if reached():
                return
            if not calls:
                self.wait()
        raise AssertionError("it never came to that")

    def _tell(self) -> None:
        for number, value, error in self.exchange.take_settled():
            assert number not in self.told, "a caller is told once"
            self.told[number] = value if error is None else error


def require_nothing_held(exchange: Exchange) -> None:
    """Whatever a call took while it was under way has been given back."""
    assert exchange.pending == 0
    calls = exchange._calls
    assert not calls._streamed and not len(calls._expiring)
    assert not any(calls._counts.values())
    assert exchange._queues.is_empty
    assert not exchange._unminted and not exchange._parted


def write_of(call: Call) -> pb.WriteRequest:
    """What a streamed request asks for, whoever is asked and under whatever number."""
    assert call.method == "WriteStream"
    request = pb.WriteStreamRequest.FromString(call.request)
    assert request.number == call.number
    return write_in(request)


def ops(call: Call) -> list[pb.Op]:
    """The ops that a streamed request carries."""
    return list(write_of(call).ops)


def part(call: Call, outcomes: Mapping[int, pb.Outcome]) -> pb.WritePart:
    """An answer to the ops at these positions of a request."""
    assert call.number is not None
    return stream_part(call.number, list(outcomes), list(outcomes.values()))


def keys(call: Call) -> list[str]:
    """What a Read asks for."""
    assert call.method == "Read"
    return list(pb.ReadRequest.FromString(call.request).keys)


def applied(unit: str = "A", version: int = 1) -> pb.Outcome:
    binding = pb.Binding(unit=unit, version=version, revision=2)
    return pb.Outcome(status=pb.OUTCOME_STATUS_APPLIED, binding=binding)


UNAVAILABLE = pb.Outcome(status=pb.OUTCOME_STATUS_UNAVAILABLE, detail="no leader")
OVERLOADED = pb.Outcome(status=pb.OUTCOME_STATUS_OVERLOADED, detail="full")
UNKNOWN = pb.Outcome(status=pb.OUTCOME_STATUS_UNKNOWN, detail="not learnt in time")


def failure(kind: FailureKind, error: GlobalTableError | None = None) -> Failure:
    """An attempt that ended so."""
    delay_s = 0.3 if kind is FailureKind.OVERLOADED else 0.0
    return Failure(kind, kind.name, delay_s, error)
