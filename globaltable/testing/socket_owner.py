"""Which process a connection on 127.0.0.1 comes from, by what Linux shows of sockets in /proc.

So that who connects need not say who it is: bytes may be encrypted, and are none of our business.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TCP: Final = Path("/proc/net/tcp")
_LOOPBACK: Final = "0100007F"
_LOCAL, _REMOTE, _INODE = 1, 2, 9


def owner_of(near_port: int, far_port: int, pids: Iterable[int]) -> int | None:
    """Of `pids`, the process that has the socket at `near_port`, connected to `far_port`; None if
    none of them has."""
    near, far = f"{_LOOPBACK}:{near_port:04X}", f"{_LOOPBACK}:{far_port:04X}"
    for line in _TCP.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[_LOCAL] == near and fields[_REMOTE] == far:
            socket = f"socket:[{fields[_INODE]}]"
            return next((pid for pid in pids if _has(pid, socket)), None)
    return None


def _has(pid: int, socket: str) -> bool:
    try:
        open_files = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for file in open_files:
        try:
            if os.readlink(file) == socket:
                return True
        except OSError:
            continue  # closed meanwhile
    return False
