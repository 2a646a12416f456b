"""Processes that end with the one that started them, however that ends.

`tied(command)` is the command behind a few words of this very file: Linux is asked to kill the
process once the other end of a pipe is closed (fcntl(2): F_SETOWN, F_SETSIG, O_ASYNC), and then the
command is executed in its place, under the same process id. The other end is this process's alone
(what it executes does not inherit it), and a kernel closes it whatever the process dies of.

PR_SET_PDEATHSIG would have them end with the *thread* that started them. To read the pipe in the
command would need the command's help, and would not end one that is paused.

Invariant: nothing is ever written to the pipe, for that would kill as well.
"""

import fcntl
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

_STARTER_DIED: Final = 70


class _Pipe(NamedTuple):
    near: int
    """Kept open while this process lives, and never written to."""
    far: int


_pipes: dict[int, _Pipe] = {}
"""By process id: what was forked from this process ties what it starts to itself."""


def tied(command: Sequence[str]) -> list[str]:
    """The words that start a command so that it ends with this process. Start them with
    `pass_fds=pass_fds()`."""
    (far,) = pass_fds()
    return [sys.executable, "-I", "-S", __file__, str(far), *command]


def pass_fds() -> tuple[int]:
    """What a command that is tied inherits."""
    pipe = _pipes.get(os.getpid())
    if pipe is None:
        far, near = os.pipe()
        pipe = _pipes[os.getpid()] = _Pipe(near, far)
    return (pipe.far,)


def tie(far: int) -> None:
    """Have this process killed once the other end of a pipe is closed."""
    # An owner is of an open file, and the inherited one is shared with all others that are tied.
    own = os.open(f"/proc/self/fd/{far}", os.O_RDONLY)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    os.set_inheritable(own, True)
    poll = select.poll()
    poll.register(own, 0)
    if poll.poll(0):
        # It was closed before anybody was to be told.
        sys.exit(_STARTER_DIED)


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.close(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
