"""The client for threads: what can be asked of it. `_sync_shell` is how it is carried out."""

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

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
from globaltable.client._sync_shell import SyncShell
from globaltable.client._sync_watch import SyncWatch
from globaltable.client.tls import Credentials, TlsConfig, TlsToken
from globaltable.client.values import Status
from globaltable.model import Binding


class SyncGlobalTable(BaseGlobalTable):
    """One table of a GlobalTable cluster, for threads. Made by `connect`.

    Calls may be made from any number of threads; those waiting at the same time travel together.
    Every call takes `timeout`, in seconds, over all its attempts: `None` for no timeout, and by
    default the client's. Besides what each names, every call raises

    * `InvalidArgument`, `LimitExceeded`: an argument is refused, most before anything is sent;
    * `PermissionDenied`: the client's certificate does not give it the right;
    * `ConnectFailed`, `NoQuorum`, `Overloaded`, `DeadlineExceeded`: it did not happen in time;
    * `OutcomeUnknown`: a bind, move or unbind was sent, and may or may not have happened;
    * `ProtocolError`: a node answered what no correct node answers;
    * `ClientClosed`: the client is not open.
    """

    def __init__(self, settings: Settings, credentials: Credentials | None = None) -> None:
        super().__init__(settings)
        self._shell = SyncShell(settings, credentials or Credentials(None), self._tracing)

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
        """A client of `table`, open; close it with `with`, or `close`.

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

        Raises `ConnectFailed` if no node answers in time.
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
        client = cls(settings, Credentials(tls))
        client._shell.start()
        try:
            client._shell.call(client._opening_ticket())
        except BaseException:
            client.close()
            raise
        return client

    # --- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give up what is under way, and close every connection. May be called twice.

        Callers that wait are told `ClientClosed`, or `OutcomeUnknown` if what they asked for may
        have happened.
        """
        self._shell.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- calls -----------------------------------------------------------------------------------

    def bind(self, key: str, unit: str, *, timeout: Timeout = USE_CLIENT_DEFAULT) -> Binding:
        """Bind `key` to `unit` if it is not bound; either way, its binding from now on.

        `created` tells whether this call made it. Of all that bind one key at once, everywhere,
        one does, and the others are told what it made.
        """
        return self._shell.call(self._bind_ticket(key, unit, timeout))

    def create(
        self, unit: str, *, prefix: str = "", timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Created:
        """Bind a fresh key to `unit`; the key, which begins with `prefix`, and its binding.

        The key holds 128 random bits, and is chosen so that it is bound as soon as the links allow
        from the node this client asks. One call makes one session at most, with one key, whatever
        is retried; `OutcomeUnknown` names the key.
        """
        ticket = self._create_ticket(unit, prefix, timeout)
        binding = self._shell.call(ticket)
        return Created(ticket.payload.key, binding)

    def move(
        self, key: str, *, to: str, version: int, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding:
        """Bind `key` to the unit `to` instead, if it is still at `version`; its new binding.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        return self._shell.call(self._move_ticket(key, to, version, timeout))

    def unbind(self, key: str, *, version: int, timeout: Timeout = USE_CLIENT_DEFAULT) -> None:
        """Remove the binding of `key`, if it is still at `version`.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        self._shell.call(self._unbind_ticket(key, version, timeout))

    def get(
        self, key: str, *, linearizable: bool = False, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding | None:
        """The binding of `key`; None if it is not bound.

        Read from the node asked, which may be behind by a moment; with `linearizable`, no older
        than this call, for one round trip between regions.
        """
        (binding,) = self._shell.call(self._get_ticket((key,), linearizable, timeout))
        return binding

    def get_many(
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
        return bound(tickets, self._shell.call_all(tickets))

    def scan(
        self,
        *,
        prefix: str = "",
        page_size: int | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
    ) -> Iterator[tuple[str, Binding]]:
        """All bindings whose key starts with `prefix`, in no meaningful order.

        Every key that stays bound, unchanged, for the whole of the scan is seen. `page_size` is
        how many are fetched at a time, `timeout` how many seconds each page may take.
        """
        scan = self._scan_progress(prefix, page_size)
        timeout_s = self._timeout_s(timeout)
        while not scan.over:
            entries = self._shell.call(self._page_ticket(scan, timeout_s))
            yield from entries

    def watch(
        self,
        *,
        key: str | None = None,
        prefix: str = "",
        after: Mapping[int, int] | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
    ) -> SyncWatch:
        """Changes from now on, or from the position `after` on: of `key`, or of a `prefix`.

        `timeout` is how many seconds the start may take. See `SyncWatch`.
        """
        progress = self._watch_progress(key, prefix, after)
        watch = SyncWatch(self._shell, progress, self._timeout_s(timeout))
        self._shell.watches(watch)
        return watch

    def status(
        self, address: str | None = None, *, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Status:
        """What a node knows of itself: the one at `address`, or whichever this client asks."""
        return self._shell.call(self._status_ticket(address, timeout))
