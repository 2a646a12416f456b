"""The wall clock of nodes jumps, by libfaketime where that is installed.

Only the wall clock: the monotonic one does not jump on real machines.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.faults.scene import Scene

_JUMPS_S: Final = (-86_400.0, -3_600.0, -30.0, -1.0, 1.0, 30.0, 3_600.0, 86_400.0, 3e8)


def library() -> Path | None:
    """Where libfaketime is; None if it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def set_offset(file: Path, offset_s: float) -> None:
    # Replaced as a whole: a node may read it at any moment.
    new = file.with_suffix(".new")
    new.write_text(f"{offset_s:+.3f}\n")
    new.replace(file)


def wrapper(file: Path) -> Sequence[str]:
    """For `LocalCluster`: a node whose wall clock is as far off as the file says."""
    preloaded = library()
    assert preloaded is not None
    set_offset(file, 0.0)
    return (
        "env",
        f"LD_PRELOAD={preloaded}",
        f"FAKETIME_TIMESTAMP_FILE={file}",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        # Left to guess, it takes waits by the monotonic clock for waits by the wall clock: threads
        # then oversleep by half a second each time, which no jump of a real clock does.
        "FAKETIME_FORCE_MONOTONIC_FIX=0",
        # To look at the file whenever the time is asked for would cost more than the node does.
        "FAKETIME_CACHE_DURATION=1",
    )


async def jump(scene: Scene) -> None:
    """All nodes' clocks at once, for each reads the same file."""
    assert scene.clock_file is not None
    for _ in range(scene.rng.randint(1, 3)):
        offset_s = scene.rng.choice(_JUMPS_S)
        set_offset(scene.clock_file, offset_s)
        scene.done["clock jumps"] += 1
        await scene.wait(1.2, 3.0)
