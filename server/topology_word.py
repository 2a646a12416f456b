"""What nodes tell each other of the topology: which version they know; who is behind is told it.

A word without text says "this is what I know". Who knows more answers with the text, who knows less
with its own version, whereupon it is told. Words are said when a link comes up, and when there is
something new. Where slots have come to is told along (`slot_claims`).

A word has grown over time (`Shape`). To a peer that speaks version 4 of the protocol nothing is
said until it has spoken, and then as it does: both ends of a link begin by introducing themselves.
"""

import enum
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from globaltable import limits
from globaltable.errors import ProtocolError
from globaltable.levels import FIRST
from globaltable.server.slot_claims import Claim
from globaltable.store.known_directories import Met, decode_met, encode_met
from globaltable.topology import SLOTS_MAX
from globaltable.wire.packing import pack, unpack

UNKNOWN: Final = 0
"""Instead of a level, of who has lost what it knew."""
_CLAIMS_MAX: Final = 4 * SLOTS_MAX
"""Slots are of geos, of which there are few."""


class Shape(enum.IntEnum):
    """How many fields a word has. Of version 4 of the protocol it may be either of the first two;
    from version 5 on, the last."""

    WITHOUT_CLAIMS = 5
    WITHOUT_LEVEL = 6
    WITH_LEVEL = 7


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
    claims: Sequence[Claim] = ()
    """Where slots have been moved to: what is new of it, or all."""
    level: int = FIRST
    """In force by this version."""
    shape: Shape = Shape.WITH_LEVEL


def encode_word(word: TopologyWord) -> bytes:
    met, claims = encode_met(word.met), list(word.claims)
    settled = list(word.settled.items())
    fields = [word.version, word.plan, settled, word.text, met, claims, word.level]
    return pack(fields[: word.shape])


def decode_word(body: bytes) -> TopologyWord:
    """Raises `ProtocolError` if it is none. The text is not looked at."""
    fields = unpack(body)
    if type(fields) is not list or len(fields) not in tuple(Shape):
        raise ProtocolError("not a word of the topology")
    shape = Shape(len(fields))
    version, plan, settled, text, met, *rest = fields
    claims = rest[0] if shape >= Shape.WITHOUT_LEVEL else []
    level = _number(rest[1]) if shape >= Shape.WITH_LEVEL else FIRST
    if type(text) is not str or len(text) > limits.TOPOLOGY_BYTES_MAX:
        raise ProtocolError("the text of a topology is missing or too long")
    if type(settled) is not list or not all(_is_pair(item) for item in settled):
        raise ProtocolError("not the versions by which groups are settled")
    versions, told = (_number(version), _number(plan)), (decode_met(met), _claims(claims))
    return TopologyWord(*versions, dict(settled), text, *told, level, shape)


def _claims(value: Any) -> tuple[Claim, ...]:
    if type(value) is not list or len(value) > _CLAIMS_MAX:
        raise ProtocolError("not where slots have been moved to")
    claims = []
    for item in value:
        if type(item) is not list or len(item) != 4 or type(item[0]) is not str:
            raise ProtocolError("not where a slot has been moved to")
        slot, order, group = map(_number, item[1:])
        if slot >= SLOTS_MAX or group >= SLOTS_MAX:
            raise ProtocolError(f"slot {slot} and group {group} are none that there could be")
        claims.append(Claim(item[0], slot, order, group))
    return tuple(claims)


def _is_pair(item: Any) -> bool:
    return type(item) is list and len(item) == 2 and all(_number(n) >= 0 for n in item)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ProtocolError("not a number of 0 to 2^63")
    return value
