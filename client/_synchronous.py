"""The client for threads: carries out what the exchange decides, over gRPC's own threads.

Responsible for channels, the lock around the exchange, and waking callers. A caller's own thread
sends what it asks for; answers are taken by gRPC's threads; one thread of the client's own waits
for deadlines, retries and probes. There is no event loop anywhere.
"""

import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc

from globaltable.client._attempts import Failure, FailureKind, failure_of
from globaltable.client._base import BaseGlobalTable, bound
from globaltable.client._calls import Call
from globaltable.client._creating import Created
from globaltable.client._exchange import Exchange, Settled
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
from globaltable.client._sync_stream import SyncWriteStream
from globaltable.client._sync_watch import SyncWatch
from globaltable.client._watching import WatchProgress
from globaltable.client.tls import Credentials, TlsConfig, TlsToken, open_channel
from globaltable.client.values import Status
from globaltable.errors import GlobalTableError
from globaltable.model import Binding

T = TypeVar("T")


class _Waiter:
    """Where one caller's thread waits."""

    __slots__ = ("_told", "error", "value")

    def __init__(self) -> None:
        self._told = threading.Lock()
        self._told.acquire()
        self.value: Any = None
        self.error: GlobalTableError | None = None

    def wait(self) -> None:
        self._told.acquire()

    def tell(self, value: Any, error: GlobalTableError | None) -> None:
        self.value, self.error = value, error
        self._told.release()


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
        self._lock: Final = threading.Lock()
        self._timer_moved: Final = threading.Condition(self._lock)
        self._wakes_at: float | None = None
        self._watches: weakref.WeakSet[SyncWatch] = weakref.WeakSet()
        self._streams: dict[int, SyncWriteStream] = {}
        self._credentials = credentials or Credentials(None)
        self._shown: dict[int, grpc.ChannelCredentials | None] = {}
        """By node, what the connection to it was opened with."""
        self._channels: dict[int, grpc.Channel] = {}
        self._methods: dict[int, dict[str, Any]] = {}
        self._routed = 0
        """The changes of the routes that watches have followed."""
        self._connecting: Final = threading.Lock()
        self._exchange = Exchange(settings, time.monotonic())
        self._timer = threading.Thread(
            target=self._keep_time, name="globaltable-client", daemon=True
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
        client._timer.start()
        try:
            client._call(client._opening_ticket())
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
        with self._lock:
            if self._exchange.closed:
                return
            self._exchange.close()
            settled = self._exchange.take_settled()
            watches = list(self._watches)
            self._timer_moved.notify_all()
        _tell(settled)
        for watch in watches:
            watch.interrupt()
        for stream in list(self._streams.values()):
            stream.cancel()
        with self._connecting:
            for channel in self._channels.values():
                channel.close()
        if self._timer is not threading.current_thread():
            self._timer.join()

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
        return self._call(self._bind_ticket(key, unit, timeout))

    def create(
        self, unit: str, *, prefix: str = "", timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Created:
        """Bind a fresh key to `unit`; the key, which begins with `prefix`, and its binding.

        The key holds 128 random bits, and is chosen so that it is bound as soon as the links allow
        from the node this client asks. One call makes one session at most, with one key, whatever
        is retried; `OutcomeUnknown` names the key.
        """
        ticket = self._create_ticket(unit, prefix, timeout)
        binding = self._call(ticket)
        return Created(ticket.payload.key, binding)

    def move(
        self, key: str, *, to: str, version: int, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding:
        """Bind `key` to the unit `to` instead, if it is still at `version`; its new binding.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        return self._call(self._move_ticket(key, to, version, timeout))

    def unbind(self, key: str, *, version: int, timeout: Timeout = USE_CLIENT_DEFAULT) -> None:
        """Remove the binding of `key`, if it is still at `version`.

        Raises `VersionConflict`, with the current binding, and `NotBound`.
        """
        self._call(self._unbind_ticket(key, version, timeout))

    def get(
        self, key: str, *, linearizable: bool = False, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Binding | None:
        """The binding of `key`; None if it is not bound.

        Read from the node asked, which may be behind by a moment; with `linearizable`, no older
        than this call, for one round trip between regions.
        """
        (binding,) = self._call(self._get_ticket((key,), linearizable, timeout))
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
            self._require_open("get of 0 keys")
        return bound(tickets, self._call_all(tickets))

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
            entries = self._call(self._page_ticket(scan, timeout_s))
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
        watch = SyncWatch(_WatchedNodes(self), progress, self._timeout_s(timeout))
        with self._lock:
            self._watches.add(watch)
        return watch

    def status(
        self, address: str | None = None, *, timeout: Timeout = USE_CLIENT_DEFAULT
    ) -> Status:
        """What a node knows of itself: the one at `address`, or whichever this client asks."""
        return self._call(self._status_ticket(address, timeout))

    # --- the shell -------------------------------------------------------------------------------

    def _require_open(self, subject: str) -> None:
        if self._exchange.closed:
            raise ClientClosed(f"{subject}: the client is closed")

    def _call(self, ticket: Ticket[T]) -> T:
        if self._tracing is not None:
            with self._tracing.span(ticket):
                (value,) = self._call_all([ticket])
        else:
            (value,) = self._call_all([ticket])
        return value

    def _call_all(self, tickets: list[Ticket[T]]) -> list[T]:
        with self._lock:
            now = time.monotonic()
            taken = 0
            try:
                for ticket in tickets:
                    ticket.waiter = _Waiter()
                    self._exchange.submit(ticket, now)
                    taken += 1
            except GlobalTableError:
                for ticket in tickets[:taken]:
                    self._exchange.abandon(ticket)
                raise
            calls, settled = self._poll()
        self._carry_out(calls, settled)
        try:
            for ticket in tickets:
                ticket.waiter.wait()
                if ticket.waiter.error is not None:
                    raise ticket.waiter.error
        except BaseException:
            with self._lock:
                for ticket in tickets:
                    self._exchange.abandon(ticket)
            raise
        return [ticket.waiter.value for ticket in tickets]

    def _methods_at(self, node: int) -> dict[str, Any]:
        """The methods of a node; connected to if it is not. Raises ValueError if it is too late."""
        methods = self._methods.get(node)
        if methods is not None:
            return methods
        with self._connecting:
            if self._exchange.closed:
                raise ValueError("the client is closed")
            methods = self._methods.get(node)
            if methods is None:
                address = self._exchange.nodes.address(node)
                options = list(CHANNEL_OPTIONS)
                shown = self._shown[node] = self._credentials.newest()
                channel = self._channels[node] = open_channel(address, shown, options)
                methods = self._methods[node] = methods_of(channel)
            return methods

    def _follow(self) -> None:
        """Without the lock: watches go where what they watch is now, and connections to nodes that
        there are no more are closed."""
        with self._lock:
            if self._routed == self._exchange.routes.changes or self._exchange.closed:
                return
            self._routed = self._exchange.routes.changes
            watches = list(self._watches)
            retired = self._exchange.nodes.take_retired()
        for watch in watches:
            watch.follow()
        with self._connecting:
            for node in retired:
                self._let_go(node)

    def _let_go(self, node: int) -> None:
        """With `_connecting` held: close the connection to a node that there is no more, or that is
        opened anew."""
        self._methods.pop(node, None)
        channel = self._channels.pop(node, None)
        if channel is not None:
            channel.close()

    def _renew(self, node: int) -> None:
        """Without the lock, before a node that is down is asked: it may refuse a certificate that
        has expired, and that has been renewed since."""
        if node not in self._shown or self._exchange.nodes.is_up(node):
            return
        with self._connecting:
            shown = self._shown.get(node)
            if shown is not None and self._credentials.newest() is not shown:
                del self._shown[node]
                self._let_go(node)

    def _poll(self) -> tuple[list[Call], list[Settled]]:
        """With the lock held: what is due, and what has come up."""
        calls = self._exchange.poll(time.monotonic())
        settled = self._exchange.take_settled()
        due = self._exchange.next_due()
        if due is not None and (self._wakes_at is None or due < self._wakes_at):
            self._timer_moved.notify_all()
        return calls, settled

    def _carry_out(self, calls: list[Call], settled: list[Settled]) -> None:
        """Without the lock: tell the callers, and send the calls."""
        _tell(settled)
        if self._routed != self._exchange.routes.changes:
            self._follow()
        for call in calls:
            self._renew(call.node)
            if call.number is not None:
                self._send(call)
                continue
            try:
                method = self._methods_at(call.node)[call.method]
                future = method.future(call.request, timeout=call.timeout_s)
            except ValueError:
                # The channel was closed since. If so is the client, its callers have been told.
                if self._exchange.closed:
                    return
                self._gone(call)
                continue
            future.add_done_callback(lambda future, call=call: self._landed(call, future))

    def _gone(self, call: Call) -> None:
        """There is no such node any more."""
        failure = Failure(FailureKind.UNREACHED, "the node has left the cluster")
        with self._lock:
            self._exchange.failed(call, failure, time.monotonic())
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _landed(self, call: Call, future: Any) -> None:
        """A call ended; this is gRPC's thread, or the caller's if it ended at once."""
        code = future.code()
        with self._lock:
            if self._exchange.closed:
                return
            now = time.monotonic()
            if code is grpc.StatusCode.OK:
                self._exchange.answered(call, future.result(), now)
            else:
                failure = failure_of(code, future.details(), future.trailing_metadata())
                self._exchange.failed(call, failure, now)
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _send(self, call: Call) -> None:
        """On the node's write stream; opened if there is none."""
        node = call.node
        with self._lock:
            if not self._exchange.is_under_way(call):
                # Its stream has ended since it was made, and its ops are on their way elsewhere.
                return
            stream = self._streams.get(node)
            if stream is None:
                stream = self._streams[node] = SyncWriteStream(
                    self._methods_at(node)["WriteStream"],
                    lambda data: self._received(node, data),
                    lambda over, failure: self._stream_ended(node, over, failure),
                )
            stream.send(call.request)

    def _received(self, node: int, data: bytes) -> None:
        with self._lock:
            if self._exchange.closed:
                return
            self._exchange.answered_in_part(node, data, time.monotonic())
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _stream_ended(self, node: int, over: SyncWriteStream, failure: Failure) -> None:
        with self._lock:
            if self._exchange.closed:
                return
            if self._streams.get(node) is over:
                del self._streams[node]
            self._exchange.stream_failed(node, failure, time.monotonic())
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _keep_time(self) -> None:
        with self._lock:
            while not self._exchange.closed:
                due = self._wakes_at = self._exchange.next_due()
                wait_s = None if due is None else due - time.monotonic()
                if wait_s is None or wait_s > 0:
                    self._timer_moved.wait(wait_s)
                    continue
                calls, settled = self._poll()
                self._lock.release()
                try:
                    self._carry_out(calls, settled)
                finally:
                    self._lock.acquire()


def _tell(settled: list[Settled]) -> None:
    for waiter, value, error in settled:
        waiter.tell(value, error)


class _WatchedNodes:
    """What this client's watches ask of it."""

    def __init__(self, table: SyncGlobalTable) -> None:
        self._table = table
        self.attempt_timeout_s = table._settings.attempt_timeout_s

    @property
    def closed(self) -> bool:
        return self._table._exchange.closed

    @property
    def routes(self) -> Routes:
        return self._table._exchange.routes

    def began(self) -> None:
        with self._table._lock:
            self._table._exchange.watching += 1
            calls, settled = self._table._poll()
        self._table._carry_out(calls, settled)

    def ended(self) -> None:
        with self._table._lock:
            self._table._exchange.watching -= 1

    def require_open(self, subject: str) -> None:
        self._table._require_open(subject)

    def open_stream(self, progress: WatchProgress) -> tuple[int, Any]:
        with self._table._lock:
            node = self._table._exchange.nodes.next_for(progress, progress.route)
        self._table._renew(node)
        return node, self._table._methods_at(node)["Watch"](progress.request())

    def stream_failed(
        self, progress: WatchProgress, node: int, failure: Failure, waited_s: float
    ) -> float:
        table = self._table
        with table._lock:
            table._exchange.note_failure(node, failure, time.monotonic(), waited_s)
            calls, settled = table._poll()
            among = table._exchange.nodes.choose(progress.avoided | 1 << node, progress.route)
        table._carry_out(calls, settled)
        return progress.failed(failure, node, among is not None)
