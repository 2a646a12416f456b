"""A disk without room: the node on it must end and say so, and go on once there is room again.

Responsible for a small file system of one node's own (tmpfs), and for filling it. Where nothing may
be mounted, the node's files are kept from growing instead (RLIMIT_FSIZE).
"""

import asyncio
import contextlib
import errno
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from globaltable.testing import LocalCluster
from tests.faults.scene import Scene

DISK_BYTES: Final = 64 << 20
END_TIMEOUT_S: Final = 10.0
_FILLER: Final = "filler"
_POLL_S: Final = 0.05
_TOLD: Final = "StorageError"


class NotTold(AssertionError):
    """A node on a full disk ended without saying what and where."""


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[bool]:
    """A file system of `DISK_BYTES` at the directory while entered; False if it may not be."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        # Lazily, so that it goes away even if something still has it open.
        subprocess.run(["umount", "-l", str(directory)], check=False, capture_output=True)


def fill(directory: Path) -> None:
    """Leave no room in the file system."""
    with (directory / _FILLER).open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def make_room(directory: Path) -> None:
    (directory / _FILLER).unlink(missing_ok=True)


def keep_from_growing(pid: int, directory: Path) -> None:
    """No file of the process may become larger than the log is now."""
    size = (directory / "log" / "data.mdb").stat().st_size
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def wait_ended(cluster: LocalCluster, region: str, timeout_s: float = END_TIMEOUT_S) -> bool:
    """Whether the node ends by itself in time."""
    deadline = time.monotonic() + timeout_s
    while cluster.is_running(region) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return not cluster.is_running(region)


def last_words(cluster: LocalCluster, region: str, since: int) -> str:
    """The line of the log, from an offset on, that tells of the disk. Raises `NotTold`."""
    text = cluster.log_path(region).read_bytes()[since:].decode(errors="replace")
    for line in text.splitlines():
        if _TOLD in line:
            return line
    raise NotTold(f"{region} ended on a full disk and logged only: {text[-2000:]}")


async def fill_disk(scene: Scene) -> None:
    """The small disk if there is one; else any node's files."""
    region = scene.small_disk or scene.draw()
    directory = scene.cluster.data_dir(region)
    since = scene.cluster.log_path(region).stat().st_size
    scene.lives.end(region)
    try:
        if scene.small_disk:
            fill(directory)
        else:
            keep_from_growing(scene.cluster.pid(region), directory)
        timeout_s = max(0.5, min(END_TIMEOUT_S, scene.left_s))
        ended = await asyncio.to_thread(wait_ended, scene.cluster, region, timeout_s)
        if ended:
            last_words(scene.cluster, region, since)
        # A log whose freed pages are enough needs no more room, and then the node rightly goes on.
        scene.done["disks full, node ended" if ended else "disks full, node went on"] += 1
        # Started without room it may not be able to begin, which is to be told as well.
        scene.cluster.kill(region)
    finally:
        make_room(directory)
        scene.lives.begin(region)
    await scene.wait(0.0, 1.0)
    scene.start(region)
    await scene.wait(1.0, 2.0)
