"""Hostile but well-formed: what one peer sends is handed to a whole node, as follower and leader.

A replica may stop, for that is what it
does when an invariant breaks; the node may not. Each input meets a node of its own.
"""

import random
from functools import partial
from typing import Final

from globaltable.errors import ProtocolError, StorageError
from globaltable.model import split_name
from globaltable.raft.adaptor import Timing
from globaltable.raft.messages import Append, PreVoteReply, Vote
from globaltable.raft.transfer import EndRead, InstallSnapshot, ReadChunk, StageChunk
from globaltable.replica_limits import ReplicaLimits
from globaltable.row_keys import SLOT_BYTES
from globaltable.server.core import NodeCore
from globaltable.server.effects import Effects, FlushJob, GroupJob
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.topology import one_node_each, spread
from globaltable.wire.frames import encode_frame
from tests.fuzz import samples
from tests.fuzz.directories import scratch
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Refused, Subject, Target
from tests.simulation.disk import Platter, SimLog

_GROUP: Final = 0
_TURNS: Final = 3
_STOPS_BY: Final = ("InvariantViolated", "ProtocolError", "Corrupt", "AssertionError")


class Node:
    """Node `a` of `a`, `b`, `c`: a core, and jobs carried out at once."""

    def __init__(self, table: LmdbTableStore) -> None:
        self._table = table
        self._log = SimLog(Platter())
        self._now = 0.0
        self.core = NodeCore(
            topology=spread("im", one_node_each(samples.PEERS), 1, 3, slots=samples.SLOTS),
            node="a",
            log=self._log,
            table=table,
            timing=Timing(),
            limits=ReplicaLimits(),
            flush_rows=1_000,
            flush_interval_s=1_000.0,
            rng=random.Random(1),
            now=0.0,
        )
        for peer in ("b", "c"):
            self.core.set_connected(peer, True)

    def turn(self, seconds: float = 0.01) -> None:
        self._now += seconds
        turn = self.core.begin(self._now)
        self._log.commit(turn.writes)
        self._carry_out(turn.effects)
        if turn.persisting:
            self._carry_out(self.core.complete([turn]))

    def _carry_out(self, effects: Effects) -> None:
        for job in effects.jobs:
            match job:
                case FlushJob():
                    self._table.flush(job.flushes)
                    self.core.flushed()
                case GroupJob(group, StageChunk() as task):
                    try:
                        self._table.stage(group, task.number, task.payload)
                    except ProtocolError:
                        self.core.chunk_refused(group, task)
                    else:
                        self.core.chunk_staged(group, task)
                case GroupJob(group, InstallSnapshot() as task):
                    self._table.install(group, task.state)
                    self.core.snapshot_installed(group)
                case GroupJob(_, ReadChunk() | EndRead()):
                    pass

    def lead(self) -> None:
        """By the book: asked for, granted, elected."""
        self.turn(1.5)
        self.turn(1.5)
        term = self.core.replicas[_GROUP].guard.term + 1
        for reply in (PreVoteReply(term, True), Vote(term, True)):
            self.core.receive("b", encode_frame([(_GROUP, reply)]))
            self.turn()
            self.turn()
        assert self.core.replicas[_GROUP].is_leader


def _node_meets(data: bytes, table: LmdbTableStore, leads: bool) -> None:
    _empty(table)
    node = Node(table)
    if leads:
        node.lead()
    else:
        hello = Append(1, 0, 1, 0, 1, 0, (samples.entry(2),))
        node.core.receive("b", encode_frame([(_GROUP, hello)]))
        node.turn()
    try:
        node.core.receive("b", data)
    finally:
        # What came before the message that was refused has been taken in.
        for _ in range(_TURNS):
            node.turn()
    for reason in node.core.failures.values():
        kind = reason.partition(":")[0]
        assert kind in _STOPS_BY, reason
        raise Refused(f"replica stopped: {kind}")
    replica = node.core.replicas[_GROUP]
    for key, _binding in replica.table.scan(b"", b"\xff" * 8):
        split_name(key[SLOT_BYTES:])


def _empty(table: LmdbTableStore) -> None:
    """No group has a table: the next node begins anew."""
    with table._env.begin(write=True) as transaction:
        transaction.drop(table.groups_db, delete=False)
        transaction.drop(table.rows_db, delete=False)
        transaction.drop(table.history_db, delete=False)
    table.refresh()


def _node(leads: bool) -> Subject:
    table = LmdbTableStore(scratch("node"))
    each = [[(_GROUP, message)] for message in samples.messages()]
    parts = [(_GROUP, message) for message in samples.messages()[14:17]]
    both = [(_GROUP, message) for message in samples.messages()[7:10]]
    seeds = [encode_frame(envelopes) for envelopes in [*each, parts[::2], parts[1:], both]]
    return Subject(seeds, partial(_node_meets, table=table, leads=leads))


_EXPECTED = (ProtocolError, StorageError, Refused)

TARGETS = (
    Target("node as follower", partial(_node, False), _EXPECTED, Grammar.MSGPACK, 30, True),
    Target("node as leader", partial(_node, True), _EXPECTED, Grammar.MSGPACK, 30, True),
)
