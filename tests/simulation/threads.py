"""The two threads of a node, on simulated time: one for the log, one for the table.

They obey the contracts of `server.persister` and of an executor of one thread. What a thread does
happens in one step, some time after it was asked for; what it has done is told on the node's loop.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Final

from globaltable.errors import StorageError
from globaltable.raft.messages import Vote
from globaltable.server.effects import Turn
from globaltable.store.log import LogStore
from tests.simulation.timeline import ProcessClock, Timeline

_JOB_S: Final = 0.003


class LogThread:
    """All turns that wait share one transaction and one sync."""

    def __init__(
        self,
        *,
        timeline: Timeline,
        clock: ProcessClock,
        rng: random.Random,
        store: LogStore,
        sync_s: Callable[[], float],
        crash: Callable[[str], bool],
        on_durable: Callable[[Sequence[Turn]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`crash` is told of each point at which the process may die; True if it did."""
        self._timeline = timeline
        self._clock = clock
        self._rng = rng
        self._store = store
        self._sync_s = sync_s
        self._crash = crash
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._waiting: list[Turn] = []
        self._writing: list[Turn] = []
        self._failed = False

    def submit(self, turn: Turn) -> None:
        self._waiting.append(turn)
        self._begin()

    def _begin(self) -> None:
        if self._writing or not self._waiting or self._failed:
            return
        self._writing, self._waiting = self._waiting, []
        seconds = self._sync_s() * (0.5 + self._rng.random())
        self._timeline.after(seconds, self._clock.run, self._commit)

    def _commit(self) -> None:
        turns, self._writing = self._writing, []
        if self._crash("crash before the write"):
            return
        try:
            self._store.commit([write for turn in turns for write in turn.writes])
        except StorageError as error:
            self._failed = True
            self._clock.call_soon(self._on_failure, error)
            return
        if self._crash("crash after the write"):
            return
        self._clock.call_soon(self._tell, turns)
        self._begin()

    def _tell(self, turns: Sequence[Turn]) -> None:
        self._on_durable(turns)
        if any(_sends_vote(turn) for turn in turns):
            # The vote has left; the process does not live to remember giving it.
            self._crash("crash after a vote")


def _sends_vote(turn: Turn) -> bool:
    return any(
        isinstance(message, Vote) and message.granted
        for ready in turn.persisting.values()
        for _, message in ready.messages
    )


class TableThread(Executor):
    """Jobs one after the other, each of which takes its time."""

    def __init__(self, timeline: Timeline, clock: ProcessClock, rng: random.Random) -> None:
        self._timeline = timeline
        self._clock = clock
        self._rng = rng
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._working = False

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        assert not args and not kwargs
        future: Future[Any] = Future()
        self._waiting.append((future, work))
        self._begin()
        return future

    def _begin(self) -> None:
        if not self._working and self._waiting:
            self._working = True
            seconds = _JOB_S * (0.3 + 3 * self._rng.random() ** 3)
            self._timeline.after(seconds, self._clock.run, self._work)

    def _work(self) -> None:
        self._working = False
        future, work = self._waiting.popleft()
        try:
            result = work()
        except StorageError as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        self._begin()
