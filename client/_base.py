"""What both clients share: arguments are checked here, and become tickets. No I/O.

Responsible for everything about a call that does not depend on how one waits for it.
"""

import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from globaltable import limits, validation
from globaltable.client._creating import CreateTicket
from globaltable.client._lanes import (
    OpeningLane,
    ReadLane,
    ScanLane,
    ScanPage,
    StatusLane,
    Ticket,
    WriteLane,
    WriteOp,
)
from globaltable.client._minting import MINTED_CHARACTERS
from globaltable.client._scanning import ScanProgress
from globaltable.client._settings import Settings, Timeout, UseClientDefault, require_timeout
from globaltable.client._tracing import Tracing
from globaltable.client._watching import WatchProgress
from globaltable.client.values import Status
from globaltable.errors import InvalidArgument, LimitExceeded
from globaltable.model import Binding, OpKind

_KEYS_PER_TICKET: Final = limits.READ_KEYS_MAX // 4

# What `GroupRevision` holds: a uint32 and a uint64.
_GROUP_END: Final = 2**32
_REVISION_END: Final = 2**64


class BaseGlobalTable:
    """One table of one cluster, asked for by one client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tracing = Tracing(settings.table) if settings.tracing else None
        self._client_id = secrets.randbelow(2**63 - 1) + 1
        self._sequence = itertools.count(1)
        self._write_lane = WriteLane(settings.table, self._client_id)
        self._local_lane = ReadLane(settings.table, linearizable=False)
        self._linearizable_lane = ReadLane(settings.table, linearizable=True)
        self._scan_lane = ScanLane()
        self._status_lane = StatusLane()
        self._opening_lane = OpeningLane()

    @property
    def table(self) -> str:
        """The table this client asks for."""
        return self._settings.table

    @property
    def addresses(self) -> tuple[str, ...]:
        """The nodes it was given."""
        return self._settings.addresses

    def __repr__(self) -> str:
        nodes = ", ".join(self._settings.addresses)
        return f"<{type(self).__name__} table={self._settings.table!r} nodes={nodes}>"

    def _timeout_s(self, timeout: Timeout) -> float | None:
        if isinstance(timeout, UseClientDefault):
            return self._settings.timeout_s
        require_timeout("timeout", timeout)
        return timeout

    def _opening_ticket(self) -> Ticket[None]:
        return Ticket(self._opening_lane, self._settings.addresses, self._settings.timeout_s)

    def _bind_ticket(self, key: str, unit: str, timeout: Timeout) -> Ticket[Binding]:
        validation.require_key(key)
        validation.require_unit(unit)
        op = WriteOp(OpKind.BIND, key, unit, 0, next(self._sequence))
        return Ticket(self._write_lane, op, self._timeout_s(timeout))

    def _create_ticket(self, unit: str, prefix: str, timeout: Timeout) -> CreateTicket:
        validation.require_unit(unit)
        _require_prefix(prefix)
        room = limits.KEY_BYTES_MAX - MINTED_CHARACTERS
        size = len(prefix.encode())
        if size > room:
            raise LimitExceeded(
                f"prefix is {size} bytes long; at most {room} leave room for a minted key"
            )
        op = WriteOp(OpKind.BIND, "", unit, 0, next(self._sequence))
        return CreateTicket(self._write_lane, prefix, op, self._timeout_s(timeout))

    def _move_ticket(self, key: str, to: str, version: int, timeout: Timeout) -> Ticket[Binding]:
        validation.require_key(key)
        validation.require_unit(to)
        validation.require_version(version)
        op = WriteOp(OpKind.MOVE, key, to, version, next(self._sequence))
        return Ticket(self._write_lane, op, self._timeout_s(timeout))

    def _unbind_ticket(self, key: str, version: int, timeout: Timeout) -> Ticket[None]:
        validation.require_key(key)
        validation.require_version(version)
        op = WriteOp(OpKind.UNBIND, key, "", version, next(self._sequence))
        return Ticket(self._write_lane, op, self._timeout_s(timeout))

    def _get_ticket(
        self, keys: Sequence[str], linearizable: bool, timeout: Timeout
    ) -> Ticket[list[Binding | None]]:
        for key in keys:
            validation.require_key(key)
        lane = self._linearizable_lane if linearizable else self._local_lane
        return Ticket(lane, keys, self._timeout_s(timeout), weight=len(keys))

    def _get_tickets(
        self, keys: Iterable[str], linearizable: bool, timeout: Timeout
    ) -> list[Ticket[list[Binding | None]]]:
        if isinstance(keys, str):
            raise InvalidArgument(f"keys must be a collection of keys, not one string: {keys!r}")
        timeout = self._timeout_s(timeout)
        unique = list(dict.fromkeys(keys))
        return [
            self._get_ticket(unique[start : start + _KEYS_PER_TICKET], linearizable, timeout)
            for start in range(0, len(unique), _KEYS_PER_TICKET)
        ]

    def _scan_progress(self, prefix: str, page_size: int | None) -> ScanProgress:
        _require_prefix(prefix)
        if page_size is not None:
            if isinstance(page_size, bool) or not isinstance(page_size, int):
                raise InvalidArgument(f"page_size must be an int, not {page_size!r}")
            if not 1 <= page_size <= limits.SCAN_PAGE_MAX:
                raise LimitExceeded(
                    f"page_size {page_size} is out of range: 1 to {limits.SCAN_PAGE_MAX}"
                )
        return ScanProgress(self.table, prefix, page_size or 0)

    def _page_ticket(self, scan: ScanProgress, timeout_s: float | None) -> Ticket[ScanPage]:
        return Ticket(self._scan_lane, scan, timeout_s)

    def _status_ticket(self, address: str | None, timeout: Timeout) -> Ticket[Status]:
        pinned = None
        if address is not None:
            if address not in self.addresses:
                raise InvalidArgument(f"address {address!r} is not one of {list(self.addresses)}")
            pinned = self.addresses.index(address)
        return Ticket(self._status_lane, None, self._timeout_s(timeout), pinned=pinned)

    def _watch_progress(
        self, key: str | None, prefix: str, after: Mapping[int, int] | None
    ) -> WatchProgress:
        if key is not None:
            validation.require_key(key)
            if prefix:
                raise InvalidArgument(f"watch a key or a prefix, not both: {key!r}, {prefix!r}")
        _require_prefix(prefix)
        after = after if after is not None else {}
        numbers = [(group, _GROUP_END) for group in after]
        numbers += [(revision, _REVISION_END) for revision in after.values()]
        for number, end in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < end:
                raise InvalidArgument(f"after must map groups to revisions, not {dict(after)!r}")
        return WatchProgress(self.table, key, prefix, after)


def _require_prefix(prefix: str) -> None:
    if prefix != "":
        validation.require_key(prefix)


def bound(
    tickets: Iterable[Ticket[list[Binding | None]]], answers: Iterable[list[Binding | None]]
) -> dict[str, Binding]:
    """The keys that are bound, with their bindings."""
    pairs: Iterator[tuple[Any, Binding | None]] = (
        pair
        for ticket, answer in zip(tickets, answers, strict=True)
        for pair in zip(ticket.payload, answer, strict=True)
    )
    return {key: binding for key, binding in pairs if binding is not None}
