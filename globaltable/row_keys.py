"""Where a name's row stands: by slot, so that slots are ranges, then by name."""

from collections.abc import Sequence
from operator import add
from typing import Final

from globaltable.model import SYSTEM_TABLE, qualified_name
from globaltable.topology import slot_of

SLOT_BYTES: Final = 2
_SYSTEM_PREFIX: Final = qualified_name(SYSTEM_TABLE, "")


def row_key(name: bytes, slots: int) -> bytes:
    """The row key of a name."""
    return slot_of(name, slots).to_bytes(SLOT_BYTES, "big") + name


def row_keys(names: Sequence[bytes], slots: Sequence[int]) -> list[bytes]:
    """`row_key` for many names, of which the slots are known."""
    heads = [slot.to_bytes(SLOT_BYTES, "big") for slot in slots]
    return list(map(add, heads, names))


def is_system_row(key: bytes) -> bool:
    """Whether a row key is of what the cluster keeps about itself."""
    return key.startswith(_SYSTEM_PREFIX, SLOT_BYTES)


def slot_of_row(key: bytes) -> int:
    """The slot of a row key."""
    return int.from_bytes(key[:SLOT_BYTES], "big")
