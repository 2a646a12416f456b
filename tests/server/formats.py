"""The bytes of every format that another release may have written, or may read, from fixed values.

`python -m tests.server.formats` writes them to `recorded_formats.json`. What is recorded there is
what clusters have on their disks: a line is added for what is new, and none is changed.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from globaltable.model import Batch
from globaltable.server.handshake import encode_hello
from globaltable.server.slot_claims import Claim
from globaltable.server.topology_word import Shape, TopologyWord, encode_word
from globaltable.slot_change import grow
from globaltable.store import identity, known_directories, known_topology
from globaltable.store.identity import DirectoryId
from globaltable.store.known_directories import Met
from globaltable.store.known_topology import Known
from globaltable.topology import one_node_each, spread
from globaltable.topology_change import drain
from globaltable.wire.batches import encode_batch
from globaltable.wire.frames import encode_frame
from globaltable.wire.rows import encode_history, encode_row
from globaltable.wire.topologies import encode_topology
from tests.backup.samples import HEADER
from tests.fuzz.samples import ROWS, batch, history_rows, messages, steps

RECORDED: Final = Path(__file__).with_name("recorded_formats.json")

FOUNDED: Final = replace(spread("im", one_node_each("abc"), 3, 3, 16), level=1)
FINAL: Final = replace(FOUNDED, level=2)
_OWN: Final = DirectoryId("ab12", True)
_WORD: Final = TopologyWord(3, 7, {0: 3}, "", {"a": Met(0, "ab12")}, (Claim("", 4, 3, 2),), 2)


def samples() -> dict[str, str]:
    """By name, in hexadecimal digits, or as the text that it is."""
    return dict(_samples())


def _samples() -> Iterator[tuple[str, str]]:
    for version in (4, 5):
        hello = encode_hello("im", "a", "b", 7, 8, 0, _OWN, version)
        yield f"handshake, protocol {version}", hello.hex()
    for shape in Shape:
        word = encode_word(_WORD._replace(shape=shape))
        yield f"word of the topology, {shape} fields", word.hex()
    of_kind: Counter[str] = Counter()
    for message in messages():
        kind = type(message).__name__
        of_kind[kind] += 1
        yield f"frame, {kind} {of_kind[kind]}", encode_frame([(1, message)]).hex()
    yield "entry: batch, level 1", encode_batch(batch(1)).hex()
    for step in steps():
        name = f"entry: {type(step).__name__}, level 2"
        yield name, encode_batch(Batch(bytes(16), 9, (), step)).hex()
    for number, row in enumerate(ROWS):
        yield f"row {number}", encode_row(row).hex()
    yield "history", encode_history(history_rows(2)).hex()
    yield "topology, level 1", encode_topology(drain(FOUNDED, "b"))
    yield "topology, level 2", encode_topology(FINAL)
    yield "topology, level 2, format 2", encode_topology(grow(FINAL, 4))
    yield "backup: format", str(HEADER.format_version)
    with tempfile.TemporaryDirectory() as temporary:
        yield from _files(Path(temporary))


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    claim = identity.claim(
        directory, cluster="im", node="a", groups=3, slots=16, fresh=DirectoryId("ab12", True)
    )
    os.close(claim)
    yield "file identity, level 1", (directory / "identity").read_bytes().hex()
    identity.note_level(directory, 2)
    yield "file identity, level 2", (directory / "identity").read_bytes().hex()
    known_directories.keep(directory, {"a": Met(0, "ab12")})
    yield "file directories", (directory / "directories").read_bytes().hex()
    known_topology.keep(directory, Known(FOUNDED, FOUNDED))
    yield "file topology, level 1", (directory / "topology").read_text()
    known_topology.keep(directory, Known(FINAL, FOUNDED))
    yield "file topology.2, level 2", (directory / "topology.2").read_text()


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(samples(), indent=1) + "\n")
