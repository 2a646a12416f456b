"""The asyncio client: what can be asked of it. `_async_shell` is how it is carried out."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from globaltable.client._async_shell import AsyncShell
from globaltable.client._async_watch import Watch
from globaltable.client._base import BaseGlobalTable, bound
from globaltable.client._creating import Created
from globaltable.client._settings import (
    ATTEMPT_TIMEOUT_S_DEFAULT,
    PENDING_MAX_DEFAULT,
    TIMEOUT_S_DEFAULT,
    USE_CLIENT_DEFAULT,
    Settings,
    Timeout,
    addresses_of,
)
from globaltable.client.tls import Credentials, TlsConfig, TlsToken
from globaltable.client.values import Status
from globaltable.model import Binding


class GlobalTable(BaseGlobalTable):
    """One table of a GlobalTable cluster, for asyncio. Made by `connect`.

    Calls may be made from any number of tasks of one event loop; those waiting at the same time
    travel together. Every call takes `timeout`, in seconds, over all its attempts: `None` for no
    timeout, and by default the client's. Besides what each names, every call raises

    * `InvalidArgument`, `LimitExceeded`: an argument is refused, most before anything is sent;
    * `PermissionDenied`: the client's certificate does not give it the right;
    * `ConnectFailed`, `NoQuorum`, `Overloaded`, `DeadlineExceeded`: it did not happen in time;
    * `OutcomeUnknown`: a bind, move or unbind was sent, and may or may not have happened;
    * `ProtocolError`: a node answered what no correct node answers;
    * `ClientClosed`: the client is not open.
    """

    def __init__(self, settings: Settings, credentials: Credentials | None = None) -> None:
        super().__init__(settings)
        self._shell = AsyncShell(
            settings, credentials or Credentials(None), self._tracing, repr(self)
        )

    @classmethod
    def connect(
        cls,
        addresses: Iterable[str],
        *,
        table: str,
        timeout: float | None = TIMEOUT_S_DEFAULT,
        attempt_timeout: float = ATTEMPT_TIMEOUT_S_DEFAULT,
        pending_max: int = PENDING_MAX_DEFAULT,
        discover: bool = True,
        tls: TlsConfig | TlsToken | None = None,
        tracing: bool = False,
    ) -> Self:
        """A client of `table`; open it with `async with`, or `await` it and `close` it later.

        * `addresses`: "host:port" of some nodes; they tell of the others. Of those that hold what
          is asked for, the nearest that is up is asked, by measured round trip; those given come
          first among those equally near, in the given order.
        * `timeout`: seconds each call may take by default, opening included; `None` for no limit.
        * `attempt_timeout`: seconds after which a node that does not answer is given up for
          another one.
        * `pending_max`: calls waiting at a time; beyond it they raise `Overloaded`.
        * `discover`: False if no node is to be asked but those given, as where the addresses that
          nodes tell of each other mean nothing.
        * `tls`: the CAs to trust, and the certificate to show; without, in the clear. Files that
          change are read again when a node is connected to anew. With a token in the place of a
          certificate (`TlsToken`) no node is asked but those given: nodes tell of each other
          by the addresses that are for certificates.
        * `tracing`: writes have OpenTelemetry spans, whose contexts are sent along
          (`globaltable[tracing]`).

        Opening raises `ConnectFailed` if no node answers in time.
        """
        settings = Settings(
            addresses_of(addresses),
            table,
            timeout,
            attempt_timeout,
            pending_max,
            discover and not isinstance(tls, TlsToken),
            tracing,
        )
        return cls(settings, Credentials(tls))

    # --- life ------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect; does nothing on a client that is open. Raises ConnectFailed, ClientClosed."""
        await self._shell.open(self._opening_ticket)
        return self

    async def close(self) -> None:
        """Give up what is under way, and close every connection. May be called twice.

        Callers that wait are told `ClientClosed`, or `OutcomeUnknown` if what they asked for may
        have happened.
        """
        await self._shell.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    # --- calls -----------------------------------------------------------------------------------

    async def bind(self, key: str, unit: str, *, timeout: Timeout = USE_CLIENT_DEFAULT) -> Binding:
        """Bind `key` to `unit` if it is not bound; either way, its binding from now on.

        `created` tells whether this call made it. Of all that bind one key at once, everywhere,
        one does, and the others are told what it made.
        """
        return await self._shell.call(self._bind_ticket(key, unit, timeout))

    async def create(
        self, unit: str, *, prefix: str = "", timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Created:
        """Bind a fresh key to `unit`; the key, which begins with `prefix`, and its binding.

        The key holds 128 random bits, and is chosen so that it is bound as soon as the links allow
        from the node this client asks. One call makes one session at most, with one key, whatever
        is retried; `OutcomeUnknown` names the key.
        """
        ticket = self._create_ticket(unit, prefix, timeout)
        binding = await self._shell.call(ticket)
        return Created(ticket.payload.key, binding)

    async def move(
        self, key: str, *, to: str, version: int, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding:
        """Bind `key` to the unit `to` instead, if it is still at `version`; its new binding.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        return await self._shell.call(self._move_ticket(key, to, version, timeout))

    async def unbind(
        self, key: str, *, version: int, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> None:
        """Remove the binding of `key`, if it is still at `version`.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        await self._shell.call(self._unbind_ticket(key, version, timeout))

    async def get(
        self, key: str, *, linearizable: bool = False, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding | None:
        """The binding of `key`; None if it is not bound.

        Read from the node asked, which may be behind by a moment; with `linearizable`, no older
        than this call, for one round trip between regions.
        """
        (binding,) = await self._shell.call(self._get_ticket((key,), linearizable, timeout))
        return binding

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        linearizable: bool = False,
        timeout: Timeout = USE_CLIENT_DEFAULT,
    ) -> dict[str, Binding]:
        """The bindings of those of `keys` that are bound, by key, in the order of `keys`."""
        tickets = self._get_tickets(keys, linearizable, timeout)
        if not tickets:
            # Nobody is asked who would say it.
            self._shell.require_open("get of 0 keys")
        calls = [asyncio.ensure_future(self._shell.call(ticket)) for ticket in tickets]
        try:
            return bound(tickets, await asyncio.gather(*calls))
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def scan(
        self,
        *,
        prefix: str = "",
        page_size: int | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
    ) -> AsyncIterator[tuple[str, Binding]]:
        """All bindings whose key starts with `prefix`, in no meaningful order.

        Every key that stays bound, unchanged, for the whole of the scan is seen. `page_size` is
        how many are fetched at a time, `timeout` how many seconds each page may take.
        """
        scan = self._scan_progress(prefix, page_size)
        timeout_s = self._timeout_s(timeout)
        while not scan.over:
            entries = await self._shell.call(self._page_ticket(scan, timeout_s))
            for entry in entries:
                yield entry

    def watch(
        self,
        *,
        key: str | None = None,
        prefix: str = "",
        after: Mapping[int, int] | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
    ) -> Watch:
        """Changes from now on, or from the position `after` on: of `key`, or of a `prefix`.

        `timeout` is how many seconds the start may take. See `Watch`.
        """
        progress = self._watch_progress(key, prefix, after)
        watch = Watch(self._shell, progress, self._timeout_s(timeout))
        self._shell.watches(watch)
        return watch

    async def status(
        self, address: str | None = None, *, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Status:
        """What a node knows of itself: the one at `address`, or whichever this client asks."""
        return await self._shell.call(self._status_ticket(address, timeout))
