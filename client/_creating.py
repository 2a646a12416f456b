"""A create: a bind whose key is minted by the exchange, once it knows where.

The key is minted once, before the op first travels: every attempt, at whichever node, carries the
same key and the same identity, so one call never makes two sessions.
"""

from typing import NamedTuple

from globaltable.client._lanes import Ticket, WriteLane, WriteOp
from globaltable.model import Binding


class Created(NamedTuple):
    """A new session: the key that was minted for it, and its binding."""

    key: str
    binding: Binding


class CreateTicket(Ticket[Binding]):
    """A bind of `payload.key`, which is empty until it is minted."""

    __slots__ = ("prefix",)

    def __init__(self, lane: WriteLane, prefix: str, op: WriteOp, timeout_s: float | None) -> None:
        super().__init__(lane, op, timeout_s)
        self.prefix = prefix

    @property
    def subject(self) -> str:
        """What was asked, for error messages: the key is what the caller may look for."""
        if self.payload.key:
            return f"create of {self.payload.key!r}"
        return f"create of a key with prefix {self.prefix!r}"
