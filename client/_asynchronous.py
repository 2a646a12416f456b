"""The asyncio client: carries out what the exchange decides, over grpc.aio.

Responsible for channels, the one timer, and waking callers. Ops that are asked for in one turn of
the loop share a call, which leaves in the next turn.
"""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from globaltable.client._async_stream import WriteStream, failure_of_error
from globaltable.client._async_watch import Watch
from globaltable.client._attempts import Failure
from globaltable.client._base import BaseGlobalTable, bound
from globaltable.client._calls import Call
from globaltable.client._creating import Created
from globaltable.client._exchange import Exchange
from globaltable.client._lanes import Ticket, methods_of
from globaltable.client._routes import Routes
from globaltable.client._settings import (
    ATTEMPT_TIMEOUT_S_DEFAULT,
    CHANNEL_OPTIONS,
    PENDING_MAX_DEFAULT,
    TIMEOUT_S_DEFAULT,
    USE_CLIENT_DEFAULT,
    ClientClosed,
    Settings,
    Timeout,
    addresses_of,
)
from globaltable.client._watching import WatchProgress
from globaltable.client.tls import Credentials, TlsConfig, TlsToken, open_aio_channel
from globaltable.client.values import Status
from globaltable.model import Binding

T = TypeVar("T")


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
        self._credentials = credentials or Credentials(None)
        self._shown: dict[int, grpc.ChannelCredentials | None] = {}
        """By node, what the connection to it was opened with."""
        self._exchange: Exchange | None = None
        self._channels: dict[int, grpc.aio.Channel] = {}
        self._methods: dict[int, dict[str, Any]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._streams: dict[int, WriteStream] = {}
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._opening = asyncio.Lock()
        self._pump_is_due = False
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._reached = 0.0
        """The time that a timer has said has come. An event loop may say so a moment before its
        clock does, and would say so again and again until it does."""
        self._closed = False
        self._routed = 0
        """The changes of the routes that watches have followed."""

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
        async with self._opening:
            if self._closed:
                raise ClientClosed(f"{self!r} was closed; connect anew")
            if self._exchange is None:
                await self._connect()
        return self

    async def _connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exchange = Exchange(self._settings, self._loop.time())
        try:
            await self._call(self._opening_ticket())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give up what is under way, and close every connection. May be called twice.

        Callers that wait are told `ClientClosed`, or `OutcomeUnknown` if what they asked for may
        have happened.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is None or self._exchange.closed:
            return
        self._exchange.close()
        self._tell()
        for watch in list(self._watches):
            watch.interrupt()
        calls = list(self._calls)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        # A stream that ends by itself meanwhile leaves the others to be cancelled.
        for stream in list(self._streams.values()):
            await stream.cancel()
        self._streams.clear()
        await asyncio.gather(*(_outlast(methods["Topology"]) for methods in self._methods.values()))
        for channel in self._channels.values():
            await channel.close(grace=None)

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
        return await self._call(self._bind_ticket(key, unit, timeout))

    async def create(
        self, unit: str, *, prefix: str = "", timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Created:
        """Bind a fresh key to `unit`; the key, which begins with `prefix`, and its binding.

        The key holds 128 random bits, and is chosen so that it is bound as soon as the links allow
        from the node this client asks. One call makes one session at most, with one key, whatever
        is retried; `OutcomeUnknown` names the key.
        """
        ticket = self._create_ticket(unit, prefix, timeout)
        binding = await self._call(ticket)
        return Created(ticket.payload.key, binding)

    async def move(
        self, key: str, *, to: str, version: int, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding:
        """Bind `key` to the unit `to` instead, if it is still at `version`; its new binding.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        return await self._call(self._move_ticket(key, to, version, timeout))

    async def unbind(
        self, key: str, *, version: int, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> None:
        """Remove the binding of `key`, if it is still at `version`.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        await self._call(self._unbind_ticket(key, version, timeout))

    async def get(
        self, key: str, *, linearizable: bool = False, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding | None:
        """The binding of `key`; None if it is not bound.

        Read from the node asked, which may be behind by a moment; with `linearizable`, no older
        than this call, for one round trip between regions.
        """
        (binding,) = await self._call(self._get_ticket((key,), linearizable, timeout))
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
            self._require_open("get of 0 keys")
        calls = [asyncio.ensure_future(self._call(ticket)) for ticket in tickets]
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
            entries = await self._call(self._page_ticket(scan, timeout_s))
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
        watch = Watch(_WatchedNodes(self), progress, self._timeout_s(timeout))
        self._watches.add(watch)
        return watch

    async def status(
        self, address: str | None = None, *, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Status:
        """What a node knows of itself: the one at `address`, or whichever this client asks."""
        return await self._call(self._status_ticket(address, timeout))

    # --- the shell -------------------------------------------------------------------------------

    def _opened(self) -> Exchange:
        if self._exchange is None:
            raise ClientClosed(f"{self!r} is not open; use it with `async with`, or await it")
        return self._exchange

    def _require_open(self, subject: str) -> None:
        if self._opened().closed:
            raise ClientClosed(f"{subject}: the client is closed")

    async def _call(self, ticket: Ticket[T]) -> T:
        exchange = self._exchange or self._opened()
        loop = self._loop
        waiter: asyncio.Future[T] = loop.create_future()
        ticket.waiter = waiter
        if self._tracing is not None:
            self._tracing.follow(ticket, waiter)
        exchange.submit(ticket, loop.time())
        if not self._pump_is_due:
            self._pump_is_due = True
            loop.call_soon(self._pump)
        try:
            return await waiter
        except asyncio.CancelledError:
            exchange.abandon(ticket)
            raise

    def _methods_at(self, node: int) -> dict[str, Any]:
        """The methods of a node; connected to if it is not."""
        methods = self._methods.get(node)
        if methods is None:
            address = self._opened().nodes.address(node)
            options = list(CHANNEL_OPTIONS)
            shown = self._shown[node] = self._credentials.newest()
            channel = self._channels[node] = open_aio_channel(address, shown, options)
            methods = self._methods[node] = methods_of(channel)
        return methods

    def _let_go(self, node: int) -> None:
        """Close the connection to a node that there is no more, or that is opened anew."""
        channel = self._channels.pop(node, None)
        self._methods.pop(node, None)
        if channel is not None:
            task = self._loop.create_task(channel.close(grace=None))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    def _renew(self, node: int) -> None:
        """Before a node that is down is asked: it may refuse a certificate that has expired, and
        that has been renewed since."""
        if node not in self._shown or self._opened().nodes.is_up(node):
            return
        if self._credentials.newest() is not self._shown[node]:
            del self._shown[node]
            self._let_go(node)

    def _pump(self) -> None:
        """Carry out what is due, tell what has come up, and sleep until the next."""
        self._pump_is_due = False
        exchange = self._opened()
        routed = exchange.routes.changes
        if routed != self._routed:
            self._routed = routed
            for watch in list(self._watches):
                watch.follow()
            for node in exchange.nodes.take_retired():
                self._let_go(node)
        for call in exchange.poll(max(self._loop.time(), self._reached)):
            self._renew(call.node)
            if call.number is not None:
                self._stream(call.node).send(call.request)
                continue
            task = self._loop.create_task(self._carry(call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        self._tell()
        due = exchange.next_due()
        if self._timer is not None:
            if due is not None and self._timer_at <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._wake)
            self._timer_at = due

    def _wake(self) -> None:
        self._timer = None
        self._reached = self._timer_at
        self._pump()

    def _tell(self) -> None:
        for waiter, value, error in self._opened().take_settled():
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(value)
            else:
                waiter.set_exception(error)

    async def _carry(self, call: Call) -> None:
        exchange = self._opened()
        try:
            method = self._methods_at(call.node)[call.method]
            data = await method(call.request, timeout=call.timeout_s)
        except grpc.aio.AioRpcError as error:
            exchange.failed(call, failure_of_error(error), self._loop.time())
        else:
            exchange.answered(call, data, self._loop.time())
        if not exchange.closed:
            self._pump()

    def _stream(self, node: int) -> WriteStream:
        """The write stream to a node; opened if there is none."""
        stream = self._streams.get(node)
        if stream is None:
            stream = self._streams[node] = WriteStream(
                self._methods_at(node)["WriteStream"],
                lambda data: self._received(node, data),
                lambda failure: self._stream_ended(node, failure),
            )
        return stream

    def _received(self, node: int, data: bytes) -> None:
        exchange = self._opened()
        exchange.answered_in_part(node, data, self._loop.time())
        if not exchange.closed:
            self._pump()

    def _stream_ended(self, node: int, failure: Failure) -> None:
        exchange = self._opened()
        del self._streams[node]
        if not exchange.closed:
            exchange.stream_failed(node, failure, self._loop.time())
            self._pump()


async def _outlast(status: Any) -> None:
    """Return when gRPC has told this loop how all calls ended that were cancelled before.

    It tells of ends in their order, but of a cancelled call's only after `cancel` has returned. If
    the loop is closed by then, the next loop of the process is told, and raises. A call that is
    given no time ends at once, behind all those.
    """
    with contextlib.suppress(grpc.aio.AioRpcError):
        await status(b"", timeout=0)


class _WatchedNodes:
    """What this client's watches ask of it."""

    def __init__(self, table: GlobalTable) -> None:
        self._table = table
        self.attempt_timeout_s = table._settings.attempt_timeout_s

    @property
    def closed(self) -> bool:
        return self._table._closed

    @property
    def routes(self) -> Routes:
        return self._table._opened().routes

    def began(self) -> None:
        self._table._opened().watching += 1
        self._table._pump()

    def ended(self) -> None:
        self._table._opened().watching -= 1

    def require_open(self, subject: str) -> None:
        self._table._require_open(subject)

    def open_stream(self, progress: WatchProgress) -> tuple[int, Any]:
        node = self._table._opened().nodes.next_for(progress, progress.route)
        self._table._renew(node)
        return node, self._table._methods_at(node)["Watch"](progress.request())

    def stream_failed(
        self, progress: WatchProgress, node: int, failure: Failure, waited_s: float
    ) -> float:
        exchange = self._table._opened()
        exchange.note_failure(node, failure, self._table._loop.time(), waited_s)
        self._table._pump()
        left = exchange.nodes.choose(progress.avoided | 1 << node, progress.route) is not None
        return progress.failed(failure, node, left)
