"""Callers: bind, move, unbind and read at any node, with op ids, deadlines and retries.

A caller that gets no definite answer tries again, elsewhere, under the same op id. Its earlier
attempt may still be on its way: some attempts arrive late, after the caller has given up on them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from globaltable.model import Op, OpKind, Outcome, qualified_name
from tests.simulation.checks import DEFINITE

if TYPE_CHECKING:
    from tests.simulation.node import Life
    from tests.simulation.world import World

KEYS: Final = tuple(qualified_name("t", f"k{number}") for number in range(7))
UNITS: Final = ("A", "B", "C")
_PATIENCE_S: Final = 2.0
"""How long a caller goes on trying one op."""
_ATTEMPT_S: Final = 0.8
_PAUSE_S: Final = 0.05
_LATE_S: Final = 1.0
_EXPIRY_SLACK_S: Final = 0.2


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of an op at one node; without an op, a read behind a barrier."""

    client: "Client"
    number: int
    group: int
    op: Op | None
    patience_s: float
    at_least: int = 0
    """What had been acknowledged when it was submitted: a read must see it."""

    probes: str | None = None
    """Of a read that asks whether this node serves."""
    life: "Life | None" = None
    """The process that is to end it."""
    deadline: float = 0.0
    """On that process's clock."""
    ended: bool = False

    def submitted(self, life: "Life", group: int, deadline: float) -> None:
        self.life, self.group, self.deadline = life, group, deadline
        self.at_least = self.client.world.checks.acknowledged.get(self.group, 0)
        self.client.world.attempts.append(self)

    @property
    def overdue(self) -> bool:
        """Its process lives, and has let the deadline pass."""
        life = self.life
        if life is None or self.ended or not life.clock.is_alive:
            return False
        return life.clock.time() > self.deadline + _EXPIRY_SLACK_S

    def told(self, node: str, outcomes: Sequence[Outcome]) -> None:
        self.ended = True
        world = self.client.world
        world.note(node, "answers", self, *outcomes)
        if self.op is not None:
            self.client.answered(node, self, outcomes[0])
        elif not outcomes:
            self.client.read_passed(self)
            core = world.nodes[node].core
            assert core is not None, "a dead process tells nobody anything"
            if self.group in core.replicas:
                # Else it stopped in the very turn in which the reader passed: the read is refused.
                world.checks.read(node, self.group, self, core.replicas[self.group], self.at_least)

    def __str__(self) -> str:
        if self.op is None:
            return f"read {self.client.number}.{self.number} of group {self.group}"
        kind, name, unit, version, client_id, sequence = self.op
        return f"{kind.name} {name[2:].decode()} {unit} @{version} ({client_id}.{sequence})"

    __repr__ = __str__


@dataclass(slots=True)
class _Call:
    """An op, until it has a definite outcome or its caller's patience ends."""

    op: Op
    group: int
    deadline: float
    attempt: Attempt | None = None
    done: bool = False
    answered_by: list[str] = field(default_factory=list)


class Client:
    """Makes calls one after the other."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self._rng = random.Random(f"client {world.schedule.seed} {number}")
        self._sequence = 0
        self._attempts = 0
        self._stop_at = 0.0
        self._calls: dict[int, _Call] = {}
        self._versions: dict[bytes, int] = {}
        self._probes: set[int] = set()
        self._unread: set[tuple[str, int]] = set()
        self.probing = False

    @property
    def idle(self) -> bool:
        return not self._calls

    def start(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self.world.timeline.after(0.5 + self._rng.random() * _PAUSE_S, self._next)

    def _next(self) -> None:
        if self.world.timeline.now >= self._stop_at:
            return
        if self._rng.random() < 0.1:
            self._read()
        else:
            self._begin(self._draw(), self._any_node())
        self.world.timeline.after(self._rng.random() * 2 * _PAUSE_S, self._next)

    def _draw(self) -> Op:
        name = self._rng.choice(KEYS)
        kind = self._rng.choice((OpKind.BIND, OpKind.BIND, OpKind.MOVE, OpKind.UNBIND))
        unit = "" if kind is OpKind.UNBIND else self._rng.choice(UNITS)
        known = self._versions.get(name, 1)
        version = 0 if kind is OpKind.BIND else max(1, known - (self._rng.random() < 0.1))
        self._sequence += 1
        return Op(kind, name, unit, version, self.number + 1, self._sequence)

    def _any_node(self) -> str:
        return self._rng.choice(list(self.world.nodes))

    # --- calls -----------------------------------------------------------------------------------

    def _begin(self, op: Op, node: str) -> None:
        group = self.world.topology.group_of(op.name)
        call = _Call(op, group, self.world.timeline.now + _PATIENCE_S)
        self._calls[op.sequence] = call
        self._try(call, node)

    def _try(self, call: _Call, node: str) -> None:
        world = self.world
        self._attempts += 1
        attempt = Attempt(self, self._attempts, call.group, call.op, _ATTEMPT_S)
        call.attempt = attempt
        world.checks.attempted(call.op)
        delay = 0.001
        if self._rng.random() < 0.06:
            delay += self._rng.random() * _LATE_S
        elif self._rng.random() < 0.03:
            # The same request twice: something between caller and node sent it again.
            twin = Attempt(self, self._attempts, call.group, call.op, _ATTEMPT_S)
            world.checks.attempted(call.op)
            world.timeline.after(delay + self._rng.random(), self._submit, self._any_node(), twin)
        world.note(f"client {self.number}", "tries", attempt, "at", node)
        world.timeline.after(delay, self._submit, node, attempt)
        world.timeline.after(
            _ATTEMPT_S * (0.5 + self._rng.random()), self._no_answer, call, attempt
        )

    def _submit(self, node: str, attempt: Attempt) -> None:
        ops = [] if attempt.op is None else [attempt.op]
        self.world.nodes[node].submit(attempt.group, ops, attempt, attempt.patience_s)

    def _no_answer(self, call: _Call, attempt: Attempt) -> None:
        if call.attempt is attempt and not call.done:
            self._try_again(call)

    def _try_again(self, call: _Call) -> None:
        call.attempt = None
        if self.world.timeline.now >= call.deadline:
            call.done = True
            del self._calls[call.op.sequence]
            if call.op.sequence in self._probes:
                self._probes.discard(call.op.sequence)
                self.probing = False
            return
        self._try(call, self._any_node())

    def answered(self, node: str, attempt: Attempt, outcome: Outcome) -> None:
        """Of any attempt, also of one that was given up on."""
        op = attempt.op
        assert op is not None
        self.world.checks.answered(node, attempt.group, attempt, op, outcome)
        call = self._calls.get(op.sequence)
        if call is None:
            return
        if outcome.status in DEFINITE:
            call.done = True
            del self._calls[op.sequence]
            self._probes.discard(op.sequence)
            if outcome.binding is not None:
                self._versions[op.name] = outcome.binding.version
        elif call.attempt is attempt:
            call.attempt = None
            self.world.timeline.after(0.02, self._again_if_not_done, call)

    def _again_if_not_done(self, call: _Call) -> None:
        if not call.done and call.attempt is None:
            self._try_again(call)

    # --- reads -----------------------------------------------------------------------------------

    def _read(self) -> None:
        self._attempts += 1
        group = self._rng.randrange(len(self.world.topology.groups))
        attempt = Attempt(self, self._attempts, group, None, _ATTEMPT_S)
        self.world.timeline.after(0.001, self._submit, self._any_node(), attempt)

    # --- at the end ------------------------------------------------------------------------------

    def probe(self) -> None:
        """Bind a new key of each group at every node, and read it at its barrier."""
        self.probing = True
        for node in self.world.serving:
            core = self.world.nodes[node].core
            assert core is not None, "all are up"
            for group in self.world.topology.groups:
                self._unread.add((node, group.number))
                self._probe_read(node, group.number)
                salted = (
                    qualified_name("t", f"{node}{self._sequence}-{salt}") for salt in range(200)
                )
                own = (name for name in salted if core.routes.group_of(name) == group.number)
                name = next(own, None)
                if name is None:
                    # It holds no slot.
                    continue
                self._sequence += 1
                self._probes.add(self._sequence)
                op = Op(OpKind.BIND, name, "A", 0, self.number + 1, self._sequence)
                self._begin(op, node)

    @property
    def probed(self) -> bool:
        return self.probing and not self._probes and not self._unread

    def _probe_read(self, node: str, group: int) -> None:
        """Again and again, until it passes."""
        if (node, group) in self._unread:
            self._attempts += 1
            attempt = Attempt(self, self._attempts, group, None, _ATTEMPT_S)
            attempt.probes = node
            self._submit(node, attempt)
            self.world.timeline.after(_ATTEMPT_S, self._probe_read, node, group)

    def read_passed(self, attempt: Attempt) -> None:
        if attempt.probes is not None:
            self._unread.discard((attempt.probes, attempt.group))
