"""A terminal's keys, one by one, as they are pressed; and what else wakes who waits for one.

Invariant: the terminal is as it was when this is left, however that comes about: an exception, or
SIGTERM or SIGHUP, which end it as an exception does.
"""

import contextlib
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from types import FrameType
from typing import Final

_BYTES_AT_ONCE: Final = 1_024
_OFF: Final = b"\0"
"""Of a control character: it has no meaning (_POSIX_VDISABLE)."""


class Ended(SystemExit):
    """By a signal; the exit status is the one that shells give it."""


class Keyboard:
    """Made by `keyboard`."""

    def __init__(self, keys: int | None, woken: int, wake: int) -> None:
        self._keys = keys
        self._woken = woken
        self._wake = wake

    def wake(self) -> None:
        """Have `wait` return; from any thread."""
        with contextlib.suppress(OSError):  # it is about to return, or is needed no more
            os.write(self._wake, b"\0")

    def wait(self, seconds: float) -> bytes:
        """What was typed; nothing if it was not, after so many seconds, or if something else has
        come: a signal, a new size of the window."""
        files = [self._woken] if self._keys is None else [self._woken, self._keys]
        ready, _, _ = select.select(files, [], [], max(0.0, seconds))
        if self._woken in ready:
            os.read(self._woken, _BYTES_AT_ONCE)
        if self._keys is None or self._keys not in ready:
            return b""
        typed = os.read(self._keys, _BYTES_AT_ONCE)
        if not typed:
            # The terminal is gone, and would be ready for ever.
            self._keys = None
        return typed


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(128 + number)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """It has woken who waits."""


@contextlib.contextmanager
def keyboard() -> Iterator[Keyboard]:
    """Of this process's terminal; without one, no key is ever pressed. In the main thread only."""
    keys = sys.stdin.fileno() if sys.stdin.isatty() else None
    with contextlib.ExitStack() as undo:
        woken, wake = os.pipe()
        undo.callback(os.close, woken)
        undo.callback(os.close, wake)
        os.set_blocking(wake, False)
        for number, handler in (
            (signal.SIGTERM, _end),
            (signal.SIGHUP, _end),
            (signal.SIGWINCH, _noted),
        ):
            undo.callback(signal.signal, number, signal.signal(number, handler))
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(wake, warn_on_full_buffer=False))
        if keys is not None:
            before = termios.tcgetattr(keys)
            undo.callback(termios.tcsetattr, keys, termios.TCSADRAIN, before)
            mode = termios.tcgetattr(keys)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            # Stopped by Control-Z it would leave the shell with a terminal that echoes nothing.
            mode[6][termios.VSUSP] = _OFF
            termios.tcsetattr(keys, termios.TCSADRAIN, mode)
        yield Keyboard(keys, woken, wake)
