"""Mutants of *persist, then send, then answer*, and of what a disk is relied on for."""

from typing import Any, Final

from globaltable import group
from globaltable.group import Replica
from globaltable.raft.adaptor import Timing
from globaltable.raft.elections import Elections
from globaltable.raft.journal import Journal
from globaltable.replica_limits import LogBounds
from globaltable.store.log import HardState, LogWrite
from globaltable.table import Table
from globaltable.table_state import Flush
from tests.simulation import world
from tests.simulation.disk import SimLog
from tests.simulation.mutants.mutant import Mutant, Patch
from tests.simulation.schedule import Fault
from tests.simulation.threads import LogThread


def _forget_term(self: Journal) -> LogWrite | None:
    """As the library before its pull request 202."""
    write = _take_write(self)
    return None if write is None else write._replace(hard_state=None)


def _forget_vote(self: Journal) -> LogWrite | None:
    """The library's issue 84."""
    write = _take_write(self)
    if write is None or write.hard_state is None:
        return write
    return write._replace(hard_state=HardState(write.hard_state.term, None))


def _forget_truncation(self: Journal) -> LogWrite | None:
    write = _take_write(self)
    return None if write is None else write._replace(truncate_from=None)


def _without_a_write(self: Replica, now: float, **options: Any) -> group.Ready:
    return _step(self, now, **options)._replace(write=None)


def _send_before_the_sync(self: Replica, now: float, **options: Any) -> group.Ready:
    ready = _step(self, now, **options)
    return ready._replace(at_once=[*ready.at_once, *ready.messages], messages=())


def _tear(self: LogThread) -> None:
    """A disk without transactions: of what was being written a crash keeps all but the first."""
    writes = [write for turn in self._writing for write in turn.writes]

    def crash(point: str) -> bool:
        if not kept(point):
            return False
        torn = [write._replace(entries=write.entries[1:]) for write in writes]
        assert isinstance(self._store, SimLog)
        self._store.commit(torn)
        return True

    kept, self._crash = self._crash, crash
    try:
        _commit(self)
    finally:
        self._crash = kept


def _lose_a_row(self: Table) -> Flush | None:
    flush = _begin_flush(self)
    if flush is not None and flush.rows:
        flush.rows.pop(next(iter(flush.rows)))
    return flush


def _compact_what_is_not_flushed(
    self: LogBounds, flushed: int, oldest_transfer: int | None
) -> None:
    journal = self._journal
    if len(journal) > self._limits.log_entries:
        target = min(journal.last_index - self._limits.log_entries // 2, journal.commit_index)
        if target > journal.first_index:
            journal.compact_to(target)


_take_write = Journal.take_write
_step = Replica.step
_commit = LogThread._commit
_begin_flush = Table.begin_flush

RIVALS: Final[tuple[Patch, ...]] = (
    (world, "TIMING", Timing(heartbeat_s=0.095, election_min_s=0.3, election_max_s=0.36)),
    (Elections, "campaign_soon", lambda self, rng: None),
)
"""Nobody goes first, and several campaign at about the same time."""

_VOTER_DIES: Final = (
    Fault(0.0, "cut both ways", 0, 1, 3.0),
    Fault(0.0, "crash", 1, 0, 0.15),
    *(Fault(0.16 + 0.02 * n, "crash after a vote", 1, 0, 0.01) for n in range(60)),
)
"""Two that do not hear of each other ask a third, which dies when it has voted, and is back while
the other's request is on its way."""

_TAIL_REPLACED: Final = (
    Fault(0.6, "isolate", 0, 0, 0.62),
    *(Fault(1.23 + 0.02 * n, "crash after the write", 0, 0, 0.01) for n in range(15)),
)
"""A leader goes on alone, what it has appended gives way to less, and it dies of that write."""

_SYNC_LOST: Final = (
    Fault(0.39, "cut both ways", 0, 1, 0.4),
    Fault(0.4, "crash before the write", 1, 0, 0.05),
    Fault(0.46, "isolate", 0, 0, 1.1),
)
"""The only follower that was sent it loses what it was about to sync, and the leader that it told
cannot be reached."""

MUTANTS: Final[dict[str, Mutant]] = {
    "term and vote not persisted": Mutant(
        "persist, then send: the term",
        lambda: [(Journal, "take_write", _forget_term)],
        1,
        first_seed=54,
    ),
    "vote not persisted": Mutant(
        "persist, then send: the vote",
        lambda: [(Journal, "take_write", _forget_vote), *RIVALS],
        2,
        first_seed=8,
        fixed={
            "nodes": 3,
            "groups": 1,
            "unruly": True,
            "delay_s": 0.05,
            "sync_s": 0.002,
            "faults": _VOTER_DIES,
        },
        harness=("TIMING", "campaign_soon"),
    ),
    "truncation not persisted": Mutant(
        "persist, then send: that entries were deleted",
        lambda: [(Journal, "take_write", _forget_truncation)],
        1,
        first_seed=66,
        fixed={"nodes": 3, "groups": 1, "clients": 4, "faults": _TAIL_REPLACED},
    ),
    "nothing persisted": Mutant(
        "persist, then send: entries",
        lambda: [(Replica, "step", _without_a_write)],
        1,
        first_seed=1,
    ),
    "sent before the sync": Mutant(
        "persist, then send: acknowledgements and votes",
        lambda: [(Replica, "step", _send_before_the_sync)],
        2,
        fixed={
            "nodes": 3,
            "groups": 1,
            "clients": 4,
            "unruly": False,
            "sync_s": 0.02,
            "delay_s": 0.005,
            "faults": _SYNC_LOST,
        },
    ),
    "a torn transaction": Mutant(
        "a turn's writes become durable as one",
        lambda: [(LogThread, "_commit", _tear)],
        1,
        first_seed=19,
    ),
    "a row not flushed": Mutant(
        "a flush holds everything that has changed",
        lambda: [(Table, "begin_flush", _lose_a_row)],
        1,
    ),
    "log compacted too far": Mutant(
        "the log is kept from what the table has not flushed",
        lambda: [(LogBounds, "compact", _compact_what_is_not_flushed)],
        1,
    ),
}
