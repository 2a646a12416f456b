"""One group's replicas over links of given lengths, in simulated time that nothing else takes.

A step takes no time, a sync `sync_s`, and a message its way: so what a write costs in round trips
and syncs can be read off exactly.
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from globaltable.group import Ready, Replica
from globaltable.members import Members
from globaltable.model import Op, OpKind, qualified_name
from globaltable.proposals import Settled
from globaltable.raft.adaptor import Timing
from globaltable.raft.messages import Message
from globaltable.replica_limits import ReplicaLimits
from globaltable.topology import Group
from tests.simulation.disk import Platter, SimLog, SimTable
from tests.simulation.timeline import Timeline

HEARTBEAT_S: Final = 1.0
"""So long that none is taken for what a write caused."""
TIMING: Final = Timing(heartbeat_s=HEARTBEAT_S, election_min_s=10.0, election_max_s=20.0)
_PATIENCE_S: Final = 3_600.0


class TimedGroup:
    def __init__(
        self,
        voters: Sequence[str],
        way_s: Mapping[tuple[str, str], float],
        *,
        leader: str,
        sync_s: float = 0.0,
        limits: ReplicaLimits | None = None,
    ) -> None:
        """`way_s` has the way from the first to the second of each ordered pair."""
        self._way_s = way_s
        self._sync_s = sync_s
        self._timeline = Timeline()
        self._down: set[frozenset[str]] = set()
        self._busy: set[str] = set()
        self._told_at: dict[int, float] = {}
        self._ops = 0
        self.sent: list[tuple[str, str, Message]] = []
        """Sender, receiver and message, in the order in which they left."""
        self._logs = {name: SimLog(Platter()) for name in voters}
        self._tables = {name: SimTable(Platter()) for name in voters}
        self.replicas = {
            name: Replica(
                group=Group(0, (leader, *(other for other in voters if other != leader))),
                members=Members(tuple(voters)),
                node=name,
                slots=16,
                image=log.load(0),
                store=self._tables[name],
                timing=TIMING,
                limits=limits or ReplicaLimits(),
                rng=random.Random(name),
                now=self._timeline.now,
            )
            for name, log in self._logs.items()
        }
        for name, replica in self.replicas.items():
            for peer in voters:
                if peer != name:
                    replica.set_connected(peer, True)
        self._pass_time(name for name in voters)
        self.run(30.0)
        assert [name for name in voters if self.replicas[name].is_leader] == [leader]
        assert len({replica.guard.commit_index for replica in self.replicas.values()}) == 1

    @property
    def now(self) -> float:
        return self._timeline.now

    def run(self, seconds: float) -> None:
        self._timeline.run_until(self._timeline.now + seconds)

    def flush(self, name: str) -> None:
        """Nothing is flushed but here."""
        flush = self.replicas[name].begin_flush()
        if flush is not None:
            self._tables[name].flush([(0, flush)])
            self._tables[name].refresh()
            self.replicas[name].table.end_flush()

    def cut(self, a: str, b: str) -> None:
        """The link is down, and both ends know; what is on its way is lost."""
        self._down.add(frozenset((a, b)))
        for name, peer in ((a, b), (b, a)):
            self.replicas[name].set_connected(peer, False)
            self._turn(name)

    def bind(self, entry: str) -> int:
        """Have a bind enter at a replica; its number, under which it is `told`."""
        self._ops += 1
        key = f"key {self._ops}"
        op = Op(OpKind.BIND, qualified_name("t", key), "unit", 0, 1, self._ops)
        assert self.replicas[entry].submit([op], op, self._timeline.now + _PATIENCE_S)
        self._turn(entry)
        return op.sequence

    @property
    def told(self) -> Collection[int]:
        """The binds that were answered."""
        return self._told_at.keys()

    def bind_s(self, entry: str) -> float:
        """How long after a bind has entered at a replica it is answered there."""
        began = self._timeline.now
        number = self.bind(entry)
        self.run(HEARTBEAT_S * 3)
        return self._told_at[number] - began

    def _pass_time(self, names: Iterable[str]) -> None:
        for name in names:
            self._turn(name)
        self._timeline.after(HEARTBEAT_S / 2, self._pass_time, list(self.replicas))

    def _turn(self, name: str) -> None:
        """Step, persist, send, apply: the contract of `globaltable.group`."""
        replica = self.replicas[name]
        while name not in self._busy:
            ready = replica.step(self._timeline.now, may_hand_over=False)
            self._send(name, ready.at_once)
            if ready.write is not None and self._sync_s:
                self._busy.add(name)
                self._timeline.after(self._sync_s, self._synced, name, ready)
                return
            self._complete(name, ready)
            if not replica.wants_step:
                return

    def _synced(self, name: str, ready: Ready) -> None:
        self._busy.discard(name)
        self._complete(name, ready)
        self._turn(name)

    def _complete(self, name: str, ready: Ready) -> None:
        if ready.write is not None:
            self._logs[name].commit([ready.write])
        self._send(name, ready.messages)
        completed = self.replicas[name].complete()
        self._send(name, completed.messages)
        self._tell((*ready.settled, *completed.settled))

    def _tell(self, settled: Iterable[Settled]) -> None:
        for op, outcomes in settled:
            assert outcomes, op
            self._told_at[op.sequence] = self._timeline.now

    def _send(self, name: str, messages: Iterable[tuple[str, Message]]) -> None:
        for to, message in messages:
            self.sent.append((name, to, message))
            self._timeline.after(self._way_s[name, to], self._arrive, name, to, message)

    def _arrive(self, sender: str, to: str, message: Message) -> None:
        if frozenset((sender, to)) not in self._down:
            self.replicas[to].receive(sender, message)
            self._turn(to)
