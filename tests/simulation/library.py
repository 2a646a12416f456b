"""Callers that use the client library: its exchange, over simulated connections to every node.

The exchange is production's, with its retries, deadlines and back-offs; so are the requests and
answers, byte by byte, and how a node checks a request (`server.writes`). Replaced is gRPC: a
connection keeps order, and breaks when its node dies; what was under way on it is then unknown.

What callers are told is held against the log: an outcome is the op's first one; an op that is said
not to have happened never does; every op ends, at the latest a grace after its deadline.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._calls import Call
from globaltable.client._exchange import Exchange
from globaltable.client._lanes import Ticket, WriteLane, WriteOp
from globaltable.client._settings import GRACE_S, Settings
from globaltable.errors import (
    GlobalTableError,
    NotBound,
    OutcomeUnknown,
    ProtocolError,
    VersionConflict,
)
from globaltable.model import Binding, Op, OpKind, Outcome
from globaltable.server import writes
from globaltable.server.ops import columns_of_stream, require_table
from globaltable.v1 import globaltable_pb2 as pb
from tests.simulation.checks import Violation
from tests.simulation.clients import KEYS, UNITS

if TYPE_CHECKING:
    from tests.simulation.node import Life
    from tests.simulation.scene import Scene

TABLE: Final = "t"
_CLIENT_IDS_FROM: Final = 100
_ONE_WAY_S: Final = 0.001
_SLACK_S: Final = 0.01


class Asking(NamedTuple):
    """How a client asks."""

    keys: Sequence[bytes] = KEYS
    timeout_s: float = 1.5
    attempt_s: float = 0.6
    pause_s: float = 0.1
    """Between one op and the next, on average."""
    abandoned: float = 0.02
    """The share of ops whose callers go away."""


class _Connection:
    """To one process of one node, both ways in order."""

    def __init__(self, world: "Scene", rng: random.Random, life: "Life", one_way_s: float) -> None:
        self._timeline = world.timeline
        self._rng = rng
        self._one_way_s = one_way_s
        self.life = life
        self.silent = False
        """What is sent is lost: the link was cut."""
        self.broken = False
        self._free_at = {True: 0.0, False: 0.0}

    def carry(self, to_node: bool, action: Callable[..., object], *args: Any) -> None:
        now = self._timeline.now
        at = max(self._free_at[to_node], now + self._one_way_s * (1 + self._rng.random()))
        self._free_at[to_node] = at
        self._timeline.after(at - now, self._arrive, to_node, action, *args)

    def _arrive(self, to_node: bool, action: Callable[..., object], *args: Any) -> None:
        if self.broken or self.silent:
            return
        if to_node:
            self.life.clock.run(action, *args)
        else:
            action(*args)


class LibraryClient:
    """One client of the library, with one caller after the other. It is given the addresses of
    `names`, or of all nodes."""

    def __init__(
        self,
        world: "Scene",
        number: int,
        names: Sequence[str] = (),
        asking: Asking = Asking(),  # noqa: B008
    ) -> None:
        self._world = world
        self.number = number
        self._asking = asking
        self._rng = random.Random(f"library {world.schedule.seed} {number}")
        self._client_id = _CLIENT_IDS_FROM + number
        self._lane = WriteLane(TABLE, self._client_id)
        addresses = tuple(f"{name}:1" for name in names or world.nodes)
        settings = Settings(addresses, TABLE, asking.timeout_s, asking.attempt_s)
        chance = random.Random(self._rng.getrandbits(64))
        self._exchange = Exchange(settings, world.timeline.now, chance)
        self._connections: dict[int, _Connection] = {}
        self._sequence = 0
        self._versions: dict[str, int] = {}
        self._due_at = float("inf")
        self._stop_at = 0.0
        self._under_way = 0

    @property
    def idle(self) -> bool:
        return self._under_way == 0 and self._world.timeline.now >= self._stop_at

    def start(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self._ask()

    # --- callers ---------------------------------------------------------------------------------

    def _ask(self) -> None:
        timeline = self._world.timeline
        if timeline.now >= self._stop_at:
            return
        timeline.after(self._rng.random() * 2 * self._asking.pause_s, self._ask)
        self._sequence += 1
        op = self._draw()
        ticket: Ticket[Any] = Ticket(self._lane, op, self._asking.timeout_s)
        ticket.waiter = (op, timeline.now)
        self._under_way += 1
        self._exchange.submit(ticket, timeline.now)
        if self._rng.random() < self._asking.abandoned:
            timeline.after(self._rng.random() * 0.1, self._abandon, ticket)
        self._pump()

    def _draw(self) -> WriteOp:
        key = self._rng.choice(self._asking.keys).partition(b"\0")[2].decode()
        kind = self._rng.choice((OpKind.BIND, OpKind.MOVE, OpKind.UNBIND))
        unit = "" if kind is OpKind.UNBIND else self._rng.choice(UNITS)
        version = 0 if kind is OpKind.BIND else self._versions.get(key, 1)
        return WriteOp(kind, key, unit, version, self._sequence)

    def _abandon(self, ticket: Ticket[Any]) -> None:
        if not ticket.done:
            self._exchange.abandon(ticket)
            self._under_way -= 1
            self._pump()

    def _told(
        self, waiter: tuple[WriteOp, float], value: Any, error: GlobalTableError | None
    ) -> None:
        op, asked_at = waiter
        self._under_way -= 1
        world = self._world
        world.note(f"library {self.number}", "is told", op.key, op.sequence, value, error)
        late_s = world.timeline.now - (asked_at + self._asking.timeout_s + GRACE_S)
        if late_s > _SLACK_S:
            raise Violation(f"op {op.sequence} of library {self.number} ends {late_s} s late")
        if isinstance(error, ProtocolError):
            raise Violation(f"library {self.number} does not understand a node: {error}")
        binding = value if isinstance(value, Binding) else None
        if isinstance(error, VersionConflict):
            binding = error.current
        if binding is not None:
            self._versions[op.key] = binding.version
        identity = (self._client_id, op.sequence)
        if error is None or isinstance(error, VersionConflict | NotBound):
            world.checks.library_told(identity, binding)
        elif not isinstance(error, OutcomeUnknown):
            world.checks.library_denied(identity)

    # --- the way to a node -----------------------------------------------------------------------

    def _name_of(self, node: int) -> str:
        return self._exchange.nodes.address(node).partition(":")[0]

    def _one_way_s(self, name: str) -> float:
        """How long it takes to a node of this name."""
        return _ONE_WAY_S

    def _reaches(self, name: str) -> bool:
        """Whether anything comes through to a node of this name."""
        return True

    # --- the shell -------------------------------------------------------------------------------

    def _pump(self) -> None:
        """As the library's shells do, after each thing that they tell the exchange."""
        now = self._world.timeline.now
        for call in self._exchange.poll(now):
            self._send(call)
        for waiter, value, error in self._exchange.take_settled():
            self._told(waiter, value, error)
        due = self._exchange.next_due()
        if due is not None and (due < self._due_at or self._due_at <= now):
            self._due_at = due
            self._world.timeline.after(max(0.0, due - now), self._poll_due, due)

    def _poll_due(self, due: float) -> None:
        if self._due_at == due:
            self._due_at = float("inf")
            self._pump()

    def _send(self, call: Call) -> None:
        connection = self._connections.get(call.node)
        if connection is None:
            name = self._name_of(call.node)
            life = self._world.nodes[name].life
            if life is None or not self._reaches(name):
                failure = Failure(FailureKind.UNREACHED, "nothing listens there")
                self._world.timeline.after(2 * _ONE_WAY_S, self._fail, call, failure)
                return
            connection = _Connection(self._world, self._rng, life, self._one_way_s(name))
            self._connections[call.node] = connection
        if call.number is None:
            self._probe(call, connection)
        else:
            connection.carry(True, self._requested, connection, call.node, call.request)

    def _fail(self, call: Call, failure: Failure) -> None:
        """No connection came about."""
        if call.number is None:
            self._exchange.failed(call, failure, self._world.timeline.now)
        elif self._exchange.is_under_way(call):
            self._exchange.stream_failed(call.node, failure, self._world.timeline.now)
        self._pump()

    def _probe(self, call: Call, connection: _Connection) -> None:
        ended: list[bool] = []

        def asked() -> None:
            answer = self._world.topology_answer(connection.life, call.request)
            connection.carry(False, answered, answer)

        def answered(answer: bytes) -> None:
            if not ended:
                ended.append(True)
                self._exchange.answered(call, answer, self._world.timeline.now)
                self._pump()

        def failed() -> None:
            if not ended:
                ended.append(True)
                failure = Failure(FailureKind.UNKNOWN, "no answer in time", timed_out=True)
                self._exchange.failed(call, failure, self._world.timeline.now)
                self._pump()

        connection.carry(True, asked)
        self._world.timeline.after(call.timeout_s, failed)

    # --- at the node -----------------------------------------------------------------------------

    def _requested(self, connection: _Connection, node: int, request: bytes) -> None:
        """The node has got a request; its answers go back as the ops of it are decided."""
        message = pb.WriteStreamRequest.FromString(request)
        columns = columns_of_stream(message)
        require_table(columns.table, _Backend.tables)
        told = partial(self._decided, connection, node, message.number)
        writes.submit(_Backend(connection.life), columns, message.timeout_ms / 1000, told)

    def _decided(
        self,
        connection: _Connection,
        node: int,
        number: int,
        positions: Sequence[int],
        outcomes: Sequence[Outcome],
    ) -> None:
        data = writes.stream_response([(number, positions, outcomes)]).SerializeToString()
        connection.carry(False, self._answered, node, data)

    # --- what comes back -------------------------------------------------------------------------

    def _answered(self, node: int, data: bytes) -> None:
        self._exchange.answered_in_part(node, data, self._world.timeline.now)
        self._pump()

    def node_died(self, name: str) -> None:
        """Its connections break, and after a moment that is seen at this end."""
        for node, connection in self._connections.items():
            if self._name_of(node) == name:
                connection.carry(False, self._broken, connection, node)

    def _broken(self, connection: _Connection, node: int) -> None:
        if connection.broken:
            return
        connection.broken = True
        del self._connections[node]
        failure = Failure(FailureKind.UNKNOWN, "the connection was reset")
        self._exchange.stream_failed(node, failure, self._world.timeline.now)
        self._pump()


class _Backend:
    """`writes.WriteBackend`, over a simulated process."""

    tables = (TABLE,)

    def __init__(self, life: "Life") -> None:
        self._life = life

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Any) -> None:
        assert timeout_s is not None
        self._life.driver.submit(ops, self._life.clock.time() + timeout_s, told)
