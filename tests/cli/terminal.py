"""A command in a terminal of its own: what it writes is shown on a screen, and keys are typed."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import pyte

PATIENCE_S: Final = 30.0
_BYTES_AT_ONCE: Final = 65_536


class Terminal:
    """`with Terminal([...]) as terminal`; the command is killed at the end if it has not ended."""

    def __init__(self, arguments: list[str], *, columns: int = 130, lines: int = 30) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._written = b""
        self._own, self._other = pty.openpty()
        self._set_size(columns, lines)
        self.mode = termios.tcgetattr(self._other)
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "globaltable", *arguments],
            stdin=self._other,
            stdout=self._other,
            stderr=self._other,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        os.close(self._own)
        os.close(self._other)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self._set_size(columns, lines)
        self.screen.resize(lines, columns)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def restored(self) -> bool:
        """Echo, lines and keys are as they were, the cursor is seen, and the first screen too."""
        switched = self._written.rfind(b"\x1b[?1049l") > self._written.rfind(b"\x1b[?1049h")
        seen = self._written.rfind(b"\x1b[?25h") > self._written.rfind(b"\x1b[?25l")
        return switched and seen and termios.tcgetattr(self._other) == self.mode

    def read(self, seconds: float) -> None:
        """Show what is written meanwhile."""
        if select.select([self._own], [], [], seconds)[0]:
            written = os.read(self._own, _BYTES_AT_ONCE)
            self._written += written
            self._stream.feed(written)

    def wait(self, until: Callable[[str], bool]) -> str:
        """The text on the screen, once it is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not until(self.text):
            assert time.monotonic() < deadline, f"not in time:\n{self.text}"
            self.read(0.05)
        return self.text

    def ended(self) -> int:
        """The exit status, once it has ended and all it wrote was shown."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on:\n{self.text}"
            self.read(0.05)
        while select.select([self._own], [], [], 0)[0]:
            self.read(0)
        return self.process.returncode
