"""Injected latency: what goes in comes out in order, a fixed time later.

For demonstrations, benchmarks and tests; production has none. The event loop's timers round to
whole milliseconds, which would add a tenth to a simulated round trip of 10 ms, so the delay line
waits on a Linux timer descriptor, exact to some 0.05 ms.
"""

import asyncio
import ctypes
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_NANOSECONDS: Final = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("it_interval", _TimeSpec), ("it_value", _TimeSpec))


_libc = ctypes.CDLL(None, use_errno=True)


class DelayLine:
    """Calls `release` with everything that is due, oldest first, `delay_s` after it was put in."""

    def __init__(self, delay_s: float, release: Callable[[list[bytes]], None]) -> None:
        self._delay_ns = round(delay_s * _NANOSECONDS)
        self._release = release
        self._waiting: deque[tuple[int, bytes]] = deque()
        self.bytes = 0
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._timer = _libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._timer, self._due)

    def put(self, data: bytes) -> None:
        self._waiting.append((time.monotonic_ns() + self._delay_ns, data))
        self.bytes += len(data)
        if len(self._waiting) == 1:
            self._arm()

    def close(self) -> None:
        """Drop what has not come out."""
        if self._timer >= 0:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = -1
        self._waiting.clear()
        self.bytes = 0

    def _arm(self) -> None:
        seconds, nanoseconds = divmod(self._waiting[0][0], _NANOSECONDS)
        value = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(seconds, nanoseconds))
        _libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, ctypes.byref(value), None)

    def _due(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return
        now = time.monotonic_ns()
        due: list[bytes] = []
        while self._waiting and self._waiting[0][0] <= now:
            data = self._waiting.popleft()[1]
            self.bytes -= len(data)
            due.append(data)
        if self._waiting:
            self._arm()
        if due:
            self._release(due)
