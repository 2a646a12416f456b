"""Fresh keys, in the groups that commit soonest.

Responsible for what a key that the library makes looks like, and for which group it falls into.
The randomness is the caller's.

Invariants: a key holds 128 random bits or more, so two are never the same; the search for one
that falls into a wanted group ends, after 64 times as many tries as it takes on average.
"""

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from globaltable.model import qualified_name

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Thirty-two that no reader takes for each other."""

_PAIRS: Final = tuple((one + other).encode() for one in _ALPHABET for other in _ALPHABET)
_BITS_PER_CHARACTER: Final = 5
_BITS_PER_PAIR: Final = 2 * _BITS_PER_CHARACTER
_TAIL_CHARACTERS: Final = 4
MINTED_CHARACTERS: Final = 28
DRAWN_BITS: Final = MINTED_CHARACTERS * _BITS_PER_CHARACTER
"""140: of 4,096 groups one may be the only one wanted, and 128 bits are left."""

_TAILS: Final = 1 << _TAIL_CHARACTERS * _BITS_PER_CHARACTER
_STRIDE: Final = 0x9E375
"""Odd, so that every tail comes once; far from 0, so that tails in turn have little in common."""

_TRIES_PER_EXPECTED: Final = 64


class Wanted(NamedTuple):
    """Groups that new keys should fall into."""

    slots: int
    owners: Sequence[int]
    """Slot s belongs to the group owners[s mod their number]."""
    among: Collection[int]
    """None of them: any group will do."""


def mint(table: str, prefix: str, wanted: Wanted | None, draw: Callable[[int], int]) -> str:
    """A key that begins with `prefix`, in one of the groups wanted. `draw(bits)` is random."""
    number = draw(DRAWN_BITS)
    head = prefix + _text(number // _TAILS, MINTED_CHARACTERS - _TAIL_CHARACTERS).decode()
    tail = number % _TAILS
    if wanted is not None and wanted.among:
        tail = _tail_in(qualified_name(table, head), tail, wanted)
    return head + _text(tail, _TAIL_CHARACTERS).decode()


def _tail_in(name: bytes, tail: int, wanted: Wanted) -> int:
    """The first from `tail` on with which a name falls into a group that is wanted."""
    checksum = zlib.crc32(name)
    owners = wanted.owners
    expected = -(-len(owners) // len(wanted.among))
    for _ in range(min(_TAILS, _TRIES_PER_EXPECTED * expected)):
        # The slot of the whole name (`topology.slot_of`), of which the head is summed up already.
        slot = zlib.crc32(_PAIRS[tail >> 10] + _PAIRS[tail & 1023], checksum) % wanted.slots
        if owners[slot % len(owners)] in wanted.among:
            break
        tail = (tail + _STRIDE) % _TAILS
    return tail


def _text(number: int, characters: int) -> bytes:
    """So many characters, an even number, for the low bits of a number."""
    shifts = range(characters * _BITS_PER_CHARACTER - _BITS_PER_PAIR, -1, -_BITS_PER_PAIR)
    return b"".join([_PAIRS[number >> shift & 1023] for shift in shifts])
