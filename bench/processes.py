"""What a running process has taken of the machine, as the kernel counts it."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_LOOK_EVERY_S: Final = 0.25


def memory_mb(pid: int) -> float:
    """Without what it maps from files, whose pages are the kernel's cache and go when needed."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    (line,) = [line for line in text.splitlines() if line.startswith("Anonymous:")]
    return int(line.split()[1]) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Processor time so far, of the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def disk_mb(directory: Path) -> float:
    """Of all files in it, as far as they take up room."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files) / 1e6


class HighestMemory:
    """The most that each process uses while this is entered, looked at four times a second."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self.mb: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            for name, pid in self._pids().items():
                self.mb[name] = max(self.mb.get(name, 0.0), memory_mb(pid))
