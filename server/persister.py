"""The thread that makes turns durable, in the order in which they were begun.

All turns that wait when it gets to them share one transaction and one sync (group commit). What it
has done is told on the loop's thread. After a failure nothing more is written and no turn is told
of: what it would have said may not be true after a restart.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from globaltable.server.effects import Turn
from globaltable.store.log import LogStore

_CLOSE: Final = None


class Persister:
    """Turns in, durable turns out. The queue holds no more than a turn of each group."""

    def __init__(
        self,
        *,
        store: LogStore,
        call_soon: Callable[..., object],
        on_durable: Callable[[Sequence[Turn]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._call_soon = call_soon
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[Turn | None] = queue.SimpleQueue()
        self.turns = 0
        """Submitted and not yet told of."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def submit(self, turn: Turn) -> None:
        self.turns += 1
        self._queue.put(turn)

    def close(self) -> None:
        """Wait for what is queued."""
        self._queue.put(_CLOSE)
        self._thread.join()

    # --- on the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while (turns := self._take()) is not None:
            try:
                self._store.commit([write for turn in turns for write in turn.writes])
            except BaseException as error:
                self._call_soon(self._on_failure, error)
                return
            self._call_soon(self._durable, turns)

    def _take(self) -> list[Turn] | None:
        """Everything that waits, at least one turn; None to end."""
        turns: list[Turn] = []
        while not turns or not self._queue.empty():
            turn = self._queue.get()
            if turn is _CLOSE:
                if turns:
                    self._queue.put(_CLOSE)
                return turns or None
            turns.append(turn)
        return turns

    # --- on the loop's thread --------------------------------------------------------------------

    def _durable(self, turns: Sequence[Turn]) -> None:
        self.turns -= len(turns)
        self._on_durable(turns)
