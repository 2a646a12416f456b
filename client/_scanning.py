"""Where a scan stands: which slots are still to be looked at, and where among them the next page
begins.

Responsible for seeing every slot once, whichever nodes hold it, and whatever moves meanwhile: what
is kept is slots and not groups or nodes, so a slot that changes hands is neither passed over nor
seen twice. No I/O.

Invariant: an entry is handed out once, if nodes answer pages in the order of their tokens.
"""

from typing import Final

from globaltable.client._routes import Routes
from globaltable.errors import ProtocolError
from globaltable.v1 import globaltable_pb2 as pb

_SLOT_BYTES: Final = 2
"""What a page token begins with (`ScanRequest.slots`)."""


class ScanProgress:
    """One scan. `route`, `request` and `advance` in turn, until it is `over`."""

    def __init__(self, table: str, prefix: str, page_size: int) -> None:
        self._table = table
        self._prefix = prefix
        self._page_size = page_size
        self._remaining: int | None = None
        """As a bit mask; None for all."""
        self._asked: int | None = None
        """Of these, those of the page under way; None for all, if all remain."""
        self._token = b""
        self.over = False

    @property
    def subject(self) -> str:
        """What is scanned, for error messages."""
        return f"scan of {self._table!r} from prefix {self._prefix!r}"

    def route(self, routes: Routes) -> int:
        """Decide what the next page is asked of; the nodes that hold it."""
        if routes.only is not None:
            self._asked = self._remaining
            return routes.only
        assert routes.known is not None, "several sets of holders are known of"
        first = self._slot(self._token) if self._token else 0
        if self._remaining is None:
            self._remaining = (1 << routes.known.slots) - 1 & ~_below(first)
        left = {mask: slots & self._remaining for mask, slots in routes.slots().items()}
        for mask, slots in left.items():
            # A token is gone on from where its slot is now; else it is any slots' turn.
            if slots >> first & 1 or (slots and not self._token):
                self._asked = slots
                return mask
        # What no node should have sent: it has what it names refused.
        self._asked = self._remaining
        return routes.of_key(self._prefix)

    def request(self) -> bytes:
        """Asks for the next page."""
        request = pb.ScanRequest(
            table=self._table,
            prefix=self._prefix,
            page_size=self._page_size,
            page_token=self._token,
        )
        if self._asked is not None:
            request.slots = self._asked.to_bytes(self._asked.bit_length() // 8 + 1, "little")
        return request.SerializeToString()

    def advance(self, token: bytes) -> None:
        """A page has come, and names the next. Raises ProtocolError."""
        if token and token == self._token:
            raise ProtocolError(f"the node sent the page token {token!r} a second time")
        if self._asked is None or self._remaining is None:
            self._token = token
            self.over = not token
            return
        done = self._asked
        if token:
            slot = self._slot(token)
            if len(token) < _SLOT_BYTES or not self._asked >> slot & 1:
                raise ProtocolError(f"the node sent the page token {token!r} of another slot")
            done &= _below(slot)
        self._token = token
        self._remaining &= ~done
        self.over = not self._remaining

    @staticmethod
    def _slot(token: bytes) -> int:
        return int.from_bytes(token[:_SLOT_BYTES], "big")


def _below(slot: int) -> int:
    return (1 << slot) - 1
