"""A text among bindings, whose units hold 64 bytes: cut in pieces that are named by their content.

Responsible for how a text (a policy) lies in `routing.meta`:

* piece n of a text is the unit of the key `text/DIGEST/n`, where DIGEST is of the whole text;
* the name of the text is bound to `DIGEST:COUNT`, and moved to change it.

Invariants: pieces are bound before the name is moved to them, and are never changed, for a piece's
key says what it holds. So the name alone decides, by compare-and-set; whoever reads it finds a
whole text or is told that it is not one; two who write the same text write the same pieces; and a
former text stays, to go back to for the price of one move.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from globaltable import limits
from globaltable.errors import Corrupt, LimitExceeded

TEXT_BYTES_MAX: Final = 16_384
PIECES_MAX: Final = TEXT_BYTES_MAX // limits.UNIT_BYTES_MAX
_DIGEST_CHARACTERS: Final = 32


class Head(NamedTuple):
    """What a name is bound to."""

    digest: str
    pieces: int

    @property
    def unit(self) -> str:
        return f"{self.digest}:{self.pieces}"

    @property
    def keys(self) -> list[str]:
        """Where the pieces are."""
        return [f"text/{self.digest}/{number}" for number in range(self.pieces)]

    @classmethod
    def parse(cls, unit: str) -> "Head":
        """Raises `Corrupt` if the name was not bound by who stores texts."""
        digest, _, count = unit.partition(":")
        well_formed = len(digest) == _DIGEST_CHARACTERS and count.isascii() and count.isdigit()
        if not well_formed or not 1 <= int(count[:6]) <= PIECES_MAX:
            raise Corrupt(f"{unit!r} names no stored text")
        return cls(digest, int(count))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def cut(text: str) -> tuple[Head, dict[str, str]]:
    """Of a text in ASCII, what its name is to be bound to, and the units of its pieces by key."""
    assert text.isascii() and text, "what is stored is JSON with all else escaped"
    if len(text) > TEXT_BYTES_MAX:
        raise LimitExceeded(f"the text is {len(text)} bytes long; at most {TEXT_BYTES_MAX} fit")
    size = limits.UNIT_BYTES_MAX
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    head = Head(_digest(text), len(pieces))
    return head, dict(zip(head.keys, pieces, strict=True))


def joined(head: Head, pieces: Mapping[str, str]) -> str | None:
    """The text; None if a piece is missing, which a replica may not have yet. Raises `Corrupt`."""
    if not all(key in pieces for key in head.keys):
        return None
    text = "".join(pieces[key] for key in head.keys)
    if _digest(text) != head.digest:
        raise Corrupt(f"the pieces of text {head.digest} are not those of that text")
    return text
