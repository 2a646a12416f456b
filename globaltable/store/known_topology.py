"""The newest topology that a node knows, beside its identity, and the one that it founded.

A node without a replica of group 0 starts with what it kept here. What it founded is kept because
the groups that have never changed say nowhere else who their members are, and a file may be edited.
And it is kept which of the groups that are added later it may found: one that it may have founded
before, and voted in, it must not.

Above the first level it lies under another name. Releases without levels find nothing under theirs,
and go on to what refuses them with a reason, the identity.

Invariant: what is found is one that was written, whole: it is replaced by a rename, and carries a
checksum.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from globaltable.errors import ConfigError, Corrupt, NewerFormat, ProtocolError, StorageError
from globaltable.levels import FIRST
from globaltable.store import durable_file
from globaltable.topology import Group, Topology
from globaltable.wire.topologies import decode_topology, encode_topology

LOST: Final = -1

_FILE: Final = "topology.2"
_FIRST_LEVEL_FILE: Final = "topology"
_NOTHING: Final = "null"


class Known(NamedTuple):
    """`founding` is None for a node that joined."""

    newest: Topology
    founding: Topology | None
    founds_after: int = 0
    """Of the groups that were added, the node founds those of later versions only: a node that
    joined first heard of itself in this one. `LOST` if it had its data discarded, and may have
    founded groups that it has not heard of since."""

    @property
    def founded(self) -> list[Group]:
        """The groups as they were founded, of which this node may be a founder."""
        founding = self.founding.groups if self.founding is not None else ()
        after = self.founds_after
        added = [group for group in self.newest.groups if after != LOST and group.since > after]
        return [*founding, *(replace(group, replicas=group.founders) for group in added)]


def load(directory: Path) -> Known | None:
    """None if nothing has been kept. Raises `Corrupt`, `StorageError` if it cannot be read, or
    `ConfigError` if it is of a level or a format that this release does not understand."""
    path = directory / _FILE
    if not path.exists():
        path = directory / _FIRST_LEVEL_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise Corrupt(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    checksum, _, body = text.partition("\n")
    lines = body.splitlines()
    if checksum != _checksum(body) or len(lines) not in (2, 3):
        raise Corrupt(
            f"{path} is damaged: its checksum is wrong; take it from the newest backup of this "
            "directory, or have the node rebuilt under another name (globaltable member replace)"
        )
    try:
        newest = decode_topology(lines[0])
        founding = None if lines[1] == _NOTHING else decode_topology(lines[1])
        # Two lines are of a time when no groups had been added.
        before = newest.version if founding is None else 0
        return Known(newest, founding, int(lines[2]) if len(lines) == 3 else before)
    except NewerFormat as error:
        raise ConfigError(f"{path}: {error}") from error
    except (ProtocolError, ValueError) as error:
        raise Corrupt(f"{path} is damaged: {error}") from error


def keep(directory: Path, known: Known) -> None:
    """Durable when it returns. Raises `StorageError` if it cannot be."""
    founding = _NOTHING if known.founding is None else encode_topology(known.founding)
    newest = known.newest
    body = f"{encode_topology(newest)}\n{founding}\n"
    # Of groups that are to come it only matters whether data were lost: all else that is known is
    # earlier than they. So a release that knows of no added groups can read what is kept.
    if known.founds_after == LOST or newest.is_extended or newest.level > FIRST:
        body += f"{known.founds_after}\n"
    first, later = directory / _FIRST_LEVEL_FILE, directory / _FILE
    path = first if newest.level == FIRST else later
    durable_file.replace(path, f"{_checksum(body)}\n{body}".encode())
    if path == later:
        first.unlink(missing_ok=True)


def note_loss(directory: Path, founded: Topology) -> None:
    """The node's data are being discarded, `founded` being the topology that its file has, of the
    first level: which one is in force is for the others to say. Unless it has kept what it knew,
    nobody knows which groups it has taken part in."""
    try:
        known = load(directory)
    except Corrupt:
        known = None
    keep(directory, (known or Known(founded, founded))._replace(founds_after=LOST))


def forget(directory: Path) -> None:
    """What this node took for the topology it founded was none."""
    (directory / _FILE).unlink(missing_ok=True)
    (directory / _FIRST_LEVEL_FILE).unlink(missing_ok=True)


def _checksum(body: str) -> str:
    return f"{crc32(body.encode()):08x}"
