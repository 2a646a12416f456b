"""What a fuzzed decoder is: the form that every target takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tests.fuzz.mutations import Grammar

Accept = Callable[[bytes], Any]

PYTHON_OBJECT_BYTES: Final = 128
"""What one byte of input may become: an empty list, and its place in another."""


class Subject(NamedTuple):
    """A decoder at work."""

    seeds: Sequence[bytes]
    """Valid encodings, made by the real encoders. The decoder accepts each."""
    decode: Accept
    """Accepts by returning, and refuses by raising one of the target's errors."""
    again: Callable[[Any], Any] = lambda value: value
    """What is decoded from the encoding of a decoded value: the same value, if there is such."""


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder, and what it may do to an input."""

    name: str
    open: Callable[[], Subject]
    """Called once in each process."""
    refuses_by: tuple[type[BaseException], ...]
    grammar: Grammar
    share: int = 100
    """Of all inputs, in proportion to the other targets': expensive ones get fewer."""
    may_refuse_seeds: bool = False
    """A node refuses, or stops over, what would be valid from another peer at another time."""
    bytes_per_input_byte: int = PYTHON_OBJECT_BYTES
    bytes_fixed: int = 4_194_304
    """What may be allocated for an input of no size."""

    def allocation_max(self, input_bytes: int) -> int:
        return self.bytes_fixed + self.bytes_per_input_byte * input_bytes


class Refused(Exception):
    """A refusal that is no exception of its own; says which."""
