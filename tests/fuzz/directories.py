"""Scratch directories in memory, if the machine has such, gone with the process."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = "/dev/shm"


def scratch(name: str) -> Path:
    """A new directory."""
    base = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix=f"fuzz-{name.replace(' ', '-')}-", dir=base))
    owner = os.getpid()

    def remove() -> None:
        # Forked children inherit this, and must not take their parent's directory away.
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path
