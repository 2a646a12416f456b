"""How the asyncio client carries out what the exchange decides, over grpc.aio.

Responsible for channels, the one timer, and waking callers. Ops that are asked for in one turn of
the loop share a call, which leaves in the next turn.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from globaltable.client._async_stream import WriteStream, failure_of_error
from globaltable.client._async_watch import Watch
from globaltable.client._attempts import Failure
from globaltable.client._calls import Call
from globaltable.client._connections import Connections
from globaltable.client._exchange import Exchange
from globaltable.client._lanes import Ticket
from globaltable.client._routes import Routes
from globaltable.client._settings import ClientClosed, Settings
from globaltable.client._tracing import Tracing
from globaltable.client._watching import WatchProgress
from globaltable.client.tls import Credentials, open_aio_channel

T = TypeVar("T")


class AsyncShell:
    """Of one client. It is also what the client's watches ask (`_watching.WatchedNodes`)."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        tracing: Tracing | None,
        name: str,
    ) -> None:
        """`name` is what the client is called in errors."""
        self.attempt_timeout_s = settings.attempt_timeout_s
        self.streams: dict[int, WriteStream] = {}
        self.closed = False
        self._settings = settings
        self._tracing = tracing
        self._name = name
        self._exchange: Exchange | None = None
        self._connections = Connections(credentials, open_aio_channel)
        self._calls: set[asyncio.Task[None]] = set()
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._opening = asyncio.Lock()
        self._pump_is_due = False
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._reached = 0.0
        """The time that a timer has said has come. An event loop may say so a moment before its
        clock does, and would say so again and again until it does."""
        self._routed = 0
        """The changes of the routes that watches have followed."""

    # --- life ------------------------------------------------------------------------------------

    async def open(self, ticket: Callable[[], Ticket[None]]) -> None:
        """See `GlobalTable.open`. `ticket` makes the one that is settled once nodes are found."""
        async with self._opening:
            if self.closed:
                raise ClientClosed(f"{self._name} was closed; connect anew")
            if self._exchange is None:
                await self._connect(ticket())

    async def _connect(self, ticket: Ticket[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._exchange = Exchange(self._settings, self._loop.time())
        try:
            await self.call(ticket)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See `GlobalTable.close`."""
        self.closed = True
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
        for stream in list(self.streams.values()):
            await stream.cancel()
        self.streams.clear()
        await asyncio.gather(*(_outlast(status) for status in self._connections.each("Topology")))
        for channel in self._connections.channels:
            await channel.close(grace=None)

    # --- calls -----------------------------------------------------------------------------------

    def opened(self) -> Exchange:
        if self._exchange is None:
            raise ClientClosed(f"{self._name} is not open; use it with `async with`, or await it")
        return self._exchange

    def require_open(self, subject: str) -> None:
        if self.opened().closed:
            raise ClientClosed(f"{subject}: the client is closed")

    async def call(self, ticket: Ticket[T]) -> T:
        exchange = self._exchange or self.opened()
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

    # --- connections -----------------------------------------------------------------------------

    def _methods_at(self, node: int) -> dict[str, Any]:
        """The methods of a node; connected to if it is not."""
        methods = self._connections.methods(node)
        return methods or self._connections.open(node, self.opened().nodes.address(node))

    def _let_go(self, node: int) -> None:
        """Close the connection to a node that there is no more, or that is opened anew."""
        channel = self._connections.take(node)
        if channel is not None:
            task = self._loop.create_task(channel.close(grace=None))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    def _renew(self, node: int) -> None:
        """Before a node is asked: if it is down, it may refuse a certificate that has expired, and
        that has been renewed since."""
        if not self.opened().nodes.is_up(node) and self._connections.is_outdated(node):
            self._let_go(node)

    # --- what the exchange decides ---------------------------------------------------------------

    def _pump(self) -> None:
        """Carry out what is due, tell what has come up, and sleep until the next."""
        self._pump_is_due = False
        exchange = self.opened()
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
        for waiter, value, error in self.opened().take_settled():
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(value)
            else:
                waiter.set_exception(error)

    async def _carry(self, call: Call) -> None:
        exchange = self.opened()
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
        stream = self.streams.get(node)
        if stream is None:
            stream = self.streams[node] = WriteStream(
                self._methods_at(node)["WriteStream"],
                lambda data: self._received(node, data),
                lambda failure: self._stream_ended(node, failure),
            )
        return stream

    def _received(self, node: int, data: bytes) -> None:
        exchange = self.opened()
        exchange.answered_in_part(node, data, self._loop.time())
        if not exchange.closed:
            self._pump()

    def _stream_ended(self, node: int, failure: Failure) -> None:
        exchange = self.opened()
        del self.streams[node]
        if not exchange.closed:
            exchange.stream_failed(node, failure, self._loop.time())
            self._pump()

    # --- what watches ask ------------------------------------------------------------------------

    def watches(self, watch: Watch) -> None:
        """It follows what it watches from now on."""
        self._watches.add(watch)

    @property
    def routes(self) -> Routes:
        return self.opened().routes

    def began(self) -> None:
        self.opened().watching += 1
        self._pump()

    def ended(self) -> None:
        self.opened().watching -= 1

    def open_stream(self, progress: WatchProgress) -> tuple[int, Any]:
        node = self.opened().nodes.next_for(progress, progress.route)
        self._renew(node)
        return node, self._methods_at(node)["Watch"](progress.request())

    def stream_failed(
        self, progress: WatchProgress, node: int, failure: Failure, waited_s: float
    ) -> float:
        exchange = self.opened()
        exchange.note_failure(node, failure, self._loop.time(), waited_s)
        self._pump()
        left = exchange.nodes.choose(progress.avoided | 1 << node, progress.route) is not None
        return progress.failed(failure, node, left)


async def _outlast(status: Any) -> None:
    """Return when gRPC has told this loop how all calls ended that were cancelled before.

    It tells of ends in their order, but of a cancelled call's only after `cancel` has returned. If
    the loop is closed by then, the next loop of the process is told, and raises. A call that is
    given no time ends at once, behind all those.
    """
    with contextlib.suppress(grpc.aio.AioRpcError):
        await status(b"", timeout=0)
