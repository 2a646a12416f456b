"""What nodes tell each other of the topology: which version they know; who is behind is told it.

A word without text says "this is what I know". Who knows more answers with the text, who knows less
with its own version, whereupon it is told. Words are said when a link comes up, and when there is
something new.
"""

from typing import Any, NamedTuple

from globaltable import limits
from globaltable.errors import ProtocolError
from globaltable.store.known_directories import Met, decode_met, encode_met
from globaltable.wire.packing import pack, unpack


class TopologyWord(NamedTuple):
    version: int
    plan: int
    """`Topology.plan_digest`."""
    settled: dict[int, int]
    """By group, a version that its leader has found it to be as wanted by."""
    text: str
    """The topology, or empty."""
    met: dict[str, Met]
    """The data directories that nodes were met with (`directories`)."""


def encode_word(word: TopologyWord) -> bytes:
    met = encode_met(word.met)
    return pack([word.version, word.plan, list(word.settled.items()), word.text, met])


def decode_word(body: bytes) -> TopologyWord:
    """Raises `ProtocolError` if it is none. The text is not looked at."""
    fields = unpack(body)
    if type(fields) is not list or len(fields) != 5:
        raise ProtocolError("not a word of the topology")
    version, plan, settled, text, met = fields
    if type(text) is not str or len(text) > limits.TOPOLOGY_BYTES_MAX:
        raise ProtocolError("the text of a topology is missing or too long")
    if type(settled) is not list or not all(_is_pair(item) for item in settled):
        raise ProtocolError("not the versions by which groups are settled")
    return TopologyWord(_number(version), _number(plan), dict(settled), text, decode_met(met))


def _is_pair(item: Any) -> bool:
    return type(item) is list and len(item) == 2 and all(_number(n) >= 0 for n in item)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ProtocolError("not a number of 0 to 2^63")
    return value
