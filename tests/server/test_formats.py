"""Promise: what one release has written or said, the next one writes and says alike, or by another
version of the protocol, or of a higher level."""

import json
from collections.abc import Callable

import pytest

from globaltable.server.handshake import decode_hello
from globaltable.server.topology_word import decode_word
from globaltable.wire.batches import decode_batch
from globaltable.wire.frames import decode_frame
from globaltable.wire.rows import decode_history, decode_row
from globaltable.wire.topologies import decode_topology
from tests.server.formats import RECORDED, samples

RECORDED_FORMATS: dict[str, str] = json.loads(RECORDED.read_text())
DECODERS: dict[str, Callable[[bytes], object]] = {
    "handshake": decode_hello,
    "word": decode_word,
    "frame": decode_frame,
    "entry": decode_batch,
    "row": decode_row,
    "history": decode_history,
    "topology": lambda data: decode_topology(data.decode()),
}


def test_every_format_is_recorded_and_is_as_it_was() -> None:
    """If this fails, clusters cannot be upgraded node by node: other bytes on a link need another
    version of the protocol (`server/versions.py`), other bytes in a log, a table or a file a
    higher level (`globaltable/levels.py`), below which the bytes are as before. What is new is
    recorded by `python -m tests.server.formats`."""
    assert samples() == RECORDED_FORMATS


@pytest.mark.parametrize("name", RECORDED_FORMATS)
def test_what_was_recorded_is_read(name: str) -> None:
    text = RECORDED_FORMATS[name]
    kind = name.replace(":", "").replace(",", "").split()[0]
    if decode := DECODERS.get(kind):
        assert decode(text.encode() if kind == "topology" else bytes.fromhex(text)) is not None
    else:
        assert kind in ("file", "backup")
