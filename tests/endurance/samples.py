"""What the nodes hold at a moment, as values, and the file that they are kept in.

Responsible for reading it from the kernel, and for the file: one line of JSON for a sample.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from globaltable.testing import LocalCluster
from tests.faults.scene import rss_bytes

_BLOCK_BYTES: Final = 512
"""What `st_blocks` counts, whatever the file system's own blocks are (stat(2))."""


class Held(NamedTuple):
    """By one node."""

    rss_bytes: int
    descriptors: int
    disk_bytes: int
    """Allocated for its data directory."""
    log_bytes: int
    """Of what it wrote to stderr since the run began."""


class Sample(NamedTuple):
    """Of all nodes, and what was done since the sample before."""

    at_s: float
    """Since the run began."""
    held: dict[str, Held]
    lives: dict[str, int]
    """How often each node has been started."""
    ops_per_s: float
    failed_per_s: float
    changes_per_s: float
    """That all watchers together saw."""
    faults: dict[str, int]
    """By name, since the sample before."""


class UnreadableSamples(ValueError):
    """A file holds no samples."""


def held_by(cluster: LocalCluster, node: str) -> Held:
    """What a node that runs holds now."""
    pid = cluster.pid(node)
    return Held(
        rss_bytes(pid),
        len(os.listdir(f"/proc/{pid}/fd")),
        _allocated_bytes(cluster.data_dir(node)),
        cluster.log_path(node).stat().st_size,
    )


def _allocated_bytes(directory: Path) -> int:
    """Files may go while they are counted: the node is at work."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * _BLOCK_BYTES
        except FileNotFoundError:
            continue
    return total


def append(path: Path, sample: Sample) -> None:
    row = sample._asdict() | {"held": {node: held._asdict() for node, held in sample.held.items()}}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[Sample]:
    """All that was appended. Raises `UnreadableSamples`."""
    return list(_decoded(path, path.read_text(encoding="utf-8").splitlines()))


def _decoded(path: Path, lines: Iterable[str]) -> Iterable[Sample]:
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            held = {node: Held(**values) for node, values in row.pop("held").items()}
            yield Sample(held=held, **row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableSamples(f"{path}:{number} is no sample: {error!r}") from error
