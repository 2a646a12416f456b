"""Simulated time: an event queue, and the clock that a node's process sees.

Everything that happens is an event at a time; ties go by the order in which events were made.
Nothing else decides: no thread, no wall clock, no hash seed.
"""

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Any, Final

EVENTS_MAX: Final = 400_000
START_S: Final = 1_000.0
_PASS_S: Final = 0.001
"""A pass of a node's event loop takes up to so long; what comes meanwhile shares the next turn."""
_CANCELLED: Final = object()


class TooManyEvents(AssertionError):
    """The run does not end."""


class Timeline:
    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        self._events_max = events_max
        self.now = START_S
        self.events = 0
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()

    def after(self, seconds: float, action: Callable[..., object], *args: Any) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action, args))

    def run_until(self, end: float) -> None:
        queue, pop = self._queue, heapq.heappop
        events = 0
        try:
            while queue and queue[0][0] <= end:
                self.now, _, action, args = pop(queue)
                if action(*args) is not _CANCELLED:
                    events += 1
        finally:
            self.events += events
        self.now = end
        if self.events >= self._events_max:
            raise TooManyEvents(f"{self.events} events by {self.now}")


class Timer:
    """What `call_at` returns."""

    __slots__ = ("_callback", "_clock")

    def __init__(self, clock: "ProcessClock", callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> object:
        callback = self._callback
        if callback is None:
            return _CANCELLED
        self._clock.run(callback)
        return None


class ProcessClock:
    """The event loop of one process, as far as `driver.Clock` goes: its time, and what it defers.

    A process that is paused runs nothing, and what was due then runs when it goes on; one that has
    died runs nothing ever again. Its monotonic clock may run fast or slow, and jump ahead.
    """

    def __init__(self, timeline: Timeline, rng: random.Random, rate: float) -> None:
        self._timeline = timeline
        self._random = rng.random
        self._rate = rate
        self._ahead_s = 0.0
        self._stands_still = False
        self._dead = False
        self._missed: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._soon: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    # --- as the process sees it ------------------------------------------------------------------

    def time(self) -> float:
        return self._timeline.now * self._rate + self._ahead_s

    @property
    def is_alive(self) -> bool:
        return not self._dead

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        if not self._soon:
            self._timeline.after(self._random() * _PASS_S, self.run, self._pass)
        self._soon.append((callback, args))

    def _pass(self) -> None:
        soon, self._soon = self._soon, []
        for callback, args in soon:
            if self._stands_still:
                self.run(callback, *args)
            else:
                callback(*args)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, callback)
        delay_s = (when - self.time()) / self._rate
        self._timeline.after(delay_s if delay_s > 0 else 0.0, timer.fire)
        return timer

    # --- what is done to it ----------------------------------------------------------------------

    def run(self, callback: Callable[..., object], *args: Any) -> None:
        """Something happens in the process, or later if it is paused, or never if it is dead."""
        if not self._stands_still:
            callback(*args)
        elif not self._dead:
            self._missed.append((callback, args))

    def jump(self, seconds: float) -> None:
        self._ahead_s += seconds

    def pause(self) -> None:
        self._stands_still = True

    def resume(self) -> None:
        self._stands_still = self._dead
        missed, self._missed = self._missed, []
        for callback, args in missed:
            self.run(callback, *args)

    def die(self) -> None:
        self._dead = self._stands_still = True
        self._missed.clear()
        self._soon.clear()
