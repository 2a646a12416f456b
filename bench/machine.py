"""What a run was made on, as far as figures depend on it."""

import os
import platform
from pathlib import Path


def describe() -> dict[str, str]:
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def _memory() -> str:
    kilobytes, _, _ = _first("/proc/meminfo", "MemTotal").partition(" ")
    return f"{int(kilobytes) / 1_048_576:.0f} GiB" if kilobytes.isdecimal() else ""


def _first(path: str, name: str) -> str:
    """The value of the first line `name: value`; empty if there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
