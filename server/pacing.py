"""How much of its time a thread gives to what can wait, so that what cannot is not held up.

A piece of such work takes the interpreter from the event loop, and the disk from the log. After
each piece comes a rest in proportion to it: on a machine that is busy, or slow, pieces take longer,
and so do the rests.
"""

from collections.abc import Callable


class Pace:
    """`share` of the time is worked, at most, over all pieces; `time` is in seconds."""

    def __init__(self, share: float, time: Callable[[], float]) -> None:
        assert 0 < share <= 1, share
        self._rest_per_s = 1 / share - 1
        self.time = time
        self._rested_at = 0.0

    def rest_s(self, worked_s: float) -> float:
        """How long from now until the next piece, after one that took so long."""
        now = self.time()
        self._rested_at = max(now, self._rested_at) + worked_s * self._rest_per_s
        return self._rested_at - now
