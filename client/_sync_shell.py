"""How the client for threads carries out what the exchange decides, over gRPC's own threads.

Responsible for channels, the lock around the exchange, and waking callers. A caller's own thread
sends what it asks for; answers are taken by gRPC's threads; one thread of the client's own waits
for deadlines, retries and probes. There is no event loop anywhere.

Invariants: the exchange is changed with the lock held, and no caller is told, nor anything waited
for, with it. Channels are opened and closed with another lock held, which is taken after the first.
"""

import threading
import time
import weakref
from typing import Any, Final, TypeVar

import grpc

from globaltable.client._attempts import Failure, FailureKind, failure_of
from globaltable.client._calls import Call
from globaltable.client._connections import Connections
from globaltable.client._exchange import Exchange, Settled
from globaltable.client._lanes import Ticket
from globaltable.client._routes import Routes
from globaltable.client._settings import ClientClosed, Settings
from globaltable.client._sync_stream import SyncWriteStream
from globaltable.client._sync_watch import SyncWatch
from globaltable.client._tracing import Tracing
from globaltable.client._watching import WatchProgress
from globaltable.client.tls import Credentials, open_channel
from globaltable.errors import GlobalTableError

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


class SyncShell:
    """Of one client. It is also what the client's watches ask (`_watching.WatchedNodes`)."""

    def __init__(
        self, settings: Settings, credentials: Credentials, tracing: Tracing | None
    ) -> None:
        self.attempt_timeout_s = settings.attempt_timeout_s
        self.exchange = Exchange(settings, time.monotonic())
        self.streams: dict[int, SyncWriteStream] = {}
        self._tracing = tracing
        self._lock: Final = threading.Lock()
        self._timer_moved: Final = threading.Condition(self._lock)
        self._wakes_at: float | None = None
        self._watches: weakref.WeakSet[SyncWatch] = weakref.WeakSet()
        self._connections = Connections(credentials, open_channel)
        self._routed = 0
        """The changes of the routes that watches have followed."""
        self._connecting: Final = threading.Lock()
        self._timer = threading.Thread(
            target=self._keep_time, name="globaltable-client", daemon=True
        )

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Keep time from now on."""
        self._timer.start()

    def close(self) -> None:
        """See `SyncGlobalTable.close`."""
        with self._lock:
            if self.exchange.closed:
                return
            self.exchange.close()
            settled = self.exchange.take_settled()
            watches = list(self._watches)
            self._timer_moved.notify_all()
        _tell(settled)
        for watch in watches:
            watch.interrupt()
        for stream in list(self.streams.values()):
            stream.cancel()
        with self._connecting:
            for channel in self._connections.channels:
                channel.close()
        if self._timer is not threading.current_thread():
            self._timer.join()

    # --- calls -----------------------------------------------------------------------------------

    def require_open(self, subject: str) -> None:
        if self.exchange.closed:
            raise ClientClosed(f"{subject}: the client is closed")

    def call(self, ticket: Ticket[T]) -> T:
        if self._tracing is not None:
            with self._tracing.span(ticket):
                (value,) = self.call_all([ticket])
        else:
            (value,) = self.call_all([ticket])
        return value

    def call_all(self, tickets: list[Ticket[T]]) -> list[T]:
        with self._lock:
            now = time.monotonic()
            taken = 0
            try:
                for ticket in tickets:
                    ticket.waiter = _Waiter()
                    self.exchange.submit(ticket, now)
                    taken += 1
            except GlobalTableError:
                for ticket in tickets[:taken]:
                    self.exchange.abandon(ticket)
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
                    self.exchange.abandon(ticket)
            raise
        return [ticket.waiter.value for ticket in tickets]

    # --- connections -----------------------------------------------------------------------------

    def _methods_at(self, node: int) -> dict[str, Any]:
        """The methods of a node; connected to if it is not. Raises ValueError if it is too late."""
        methods = self._connections.methods(node)
        if methods is not None:
            return methods
        with self._connecting:
            if self.exchange.closed:
                raise ValueError("the client is closed")
            methods = self._connections.methods(node)
            return methods or self._connections.open(node, self.exchange.nodes.address(node))

    def _follow(self) -> None:
        """Without the lock: watches go where what they watch is now, and connections to nodes that
        there are no more are closed."""
        with self._lock:
            if self._routed == self.exchange.routes.changes or self.exchange.closed:
                return
            self._routed = self.exchange.routes.changes
            watches = list(self._watches)
            retired = self.exchange.nodes.take_retired()
        for watch in watches:
            watch.follow()
        with self._connecting:
            for node in retired:
                self._let_go(node)

    def _let_go(self, node: int) -> None:
        """With `_connecting` held: close the connection to a node that there is no more, or that is
        opened anew."""
        channel = self._connections.take(node)
        if channel is not None:
            channel.close()

    def _renew(self, node: int) -> None:
        """Without the lock, before a node is asked: if it is down, it may refuse a certificate that
        has expired, and that has been renewed since."""
        if self.exchange.nodes.is_up(node):
            return
        with self._connecting:
            if self._connections.is_outdated(node):
                self._let_go(node)

    # --- what the exchange decides ---------------------------------------------------------------

    def _poll(self) -> tuple[list[Call], list[Settled]]:
        """With the lock held: what is due, and what has come up."""
        calls = self.exchange.poll(time.monotonic())
        settled = self.exchange.take_settled()
        due = self.exchange.next_due()
        if due is not None and (self._wakes_at is None or due < self._wakes_at):
            self._timer_moved.notify_all()
        return calls, settled

    def _carry_out(self, calls: list[Call], settled: list[Settled]) -> None:
        """Without the lock: tell the callers, and send the calls."""
        _tell(settled)
        if self._routed != self.exchange.routes.changes:
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
                if self.exchange.closed:
                    return
                self._gone(call)
                continue
            future.add_done_callback(lambda future, call=call: self._landed(call, future))

    def _gone(self, call: Call) -> None:
        """There is no such node any more."""
        failure = Failure(FailureKind.UNREACHED, "the node has left the cluster")
        with self._lock:
            self.exchange.failed(call, failure, time.monotonic())
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _landed(self, call: Call, future: Any) -> None:
        """A call ended; this is gRPC's thread, or the caller's if it ended at once."""
        code = future.code()
        with self._lock:
            if self.exchange.closed:
                return
            now = time.monotonic()
            if code is grpc.StatusCode.OK:
                self.exchange.answered(call, future.result(), now)
            else:
                failure = failure_of(code, future.details(), future.trailing_metadata())
                self.exchange.failed(call, failure, now)
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _send(self, call: Call) -> None:
        """On the node's write stream; opened if there is none."""
        node = call.node
        with self._lock:
            if not self.exchange.is_under_way(call):
                # Its stream has ended since it was made, and its ops are on their way elsewhere.
                return
            stream = self.streams.get(node)
            if stream is None:
                stream = self.streams[node] = SyncWriteStream(
                    self._methods_at(node)["WriteStream"],
                    lambda data: self._received(node, data),
                    lambda over, failure: self._stream_ended(node, over, failure),
                )
            stream.send(call.request)

    def _received(self, node: int, data: bytes) -> None:
        with self._lock:
            if self.exchange.closed:
                return
            self.exchange.answered_in_part(node, data, time.monotonic())
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _stream_ended(self, node: int, over: SyncWriteStream, failure: Failure) -> None:
        with self._lock:
            if self.exchange.closed:
                return
            if self.streams.get(node) is over:
                del self.streams[node]
            self.exchange.stream_failed(node, failure, time.monotonic())
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def _keep_time(self) -> None:
        with self._lock:
            while not self.exchange.closed:
                due = self._wakes_at = self.exchange.next_due()
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

    # --- what watches ask ------------------------------------------------------------------------

    def watches(self, watch: SyncWatch) -> None:
        """It follows what it watches from now on."""
        with self._lock:
            self._watches.add(watch)

    @property
    def closed(self) -> bool:
        return self.exchange.closed

    @property
    def routes(self) -> Routes:
        return self.exchange.routes

    def began(self) -> None:
        with self._lock:
            self.exchange.watching += 1
            calls, settled = self._poll()
        self._carry_out(calls, settled)

    def ended(self) -> None:
        with self._lock:
            self.exchange.watching -= 1

    def open_stream(self, progress: WatchProgress) -> tuple[int, Any]:
        with self._lock:
            node = self.exchange.nodes.next_for(progress, progress.route)
        self._renew(node)
        return node, self._methods_at(node)["Watch"](progress.request())

    def stream_failed(
        self, progress: WatchProgress, node: int, failure: Failure, waited_s: float
    ) -> float:
        with self._lock:
            self.exchange.note_failure(node, failure, time.monotonic(), waited_s)
            calls, settled = self._poll()
            among = self.exchange.nodes.choose(progress.avoided | 1 << node, progress.route)
        self._carry_out(calls, settled)
        return progress.failed(failure, node, among is not None)


def _tell(settled: list[Settled]) -> None:
    for waiter, value, error in settled:
        waiter.tell(value, error)
