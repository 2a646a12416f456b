"""A watch of the asyncio client: streams, one after another, from whichever nodes hold what it is
of.

Responsible for when a stream is begun, given up and followed by the next. Which changes come of
them is `_watching`'s, and which node is asked the client's.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

import grpc.aio

from globaltable.client._async_stream import failure_of_error
from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._merging import MergedProgress
from globaltable.client._settings import ClientClosed
from globaltable.client._watching import WatchedNodes, WatchProgress
from globaltable.client.values import Change
from globaltable.errors import GlobalTableError, ProtocolError

_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class _Follower:
    """One stream after another of the same groups, from whichever node holds them."""

    def __init__(self, nodes: WatchedNodes, progress: WatchProgress) -> None:
        self._nodes = nodes
        self.progress = progress
        self._stream: Any = None
        self._node = 0
        self._over = False
        self._interrupted = asyncio.Event()

    def end(self) -> None:
        """Let go of the stream, and end a pause."""
        self._over = True
        self._interrupted.set()
        self._drop_stream()

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def _is_over(self) -> bool:
        return self._over or self._nodes.closed

    async def receive(self) -> None:
        """Take one message, or one failure."""
        nodes = self._nodes
        if self._is_over():
            return
        # A node says at once where a stream starts; after that it may be silent for any time.
        limit_s = nodes.attempt_timeout_s if self._stream is None else None
        waited_s = limit_s or 0.0
        try:
            async with asyncio.timeout(limit_s):
                if self._stream is None:
                    self._node, self._stream = nodes.open_stream(self.progress)
                stream = self._stream
                data = await stream.read()
        except grpc.aio.AioRpcError as error:
            failure = failure_of_error(error)
        except TimeoutError:
            failure = Failure(FailureKind.UNKNOWN, "the node did not answer", timed_out=True)
        except asyncio.CancelledError:
            self._drop_stream()
            task = asyncio.current_task()
            if self._is_over() and not (task is not None and task.cancelling()):
                return
            raise
        else:
            if data is not _END:
                if self._over:
                    # Another stream has taken over from what had arrived before.
                    return
                try:
                    self.progress.received(data)
                except ProtocolError:
                    # Reading on would pass over what this message should have held.
                    self._drop_stream()
                    raise
                return
            failure = Failure(FailureKind.UNKNOWN, "the node ended the stream")
        self._drop_stream()
        if self._is_over():
            return
        pause_s = nodes.stream_failed(self.progress, self._node, failure, waited_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._interrupted.wait()


class Watch:
    """The changes of a key or a prefix, in the order of each group's log, each one once.

    An asynchronous iterator that ends when it is closed. It survives the loss of its node: it
    goes on at another one, after the last change it received. `async with` waits until nodes have
    said where the watch starts, so that a scan made then misses nothing that it does not deliver.

    Iterating raises `Compacted` or `Lagged` if the changes that come next are no longer kept,
    both with the `oldest` revision that is; and, if it could not be started in time, what every
    call raises.
    """

    def __init__(
        self, nodes: WatchedNodes, progress: WatchProgress, timeout_s: float | None
    ) -> None:
        self._nodes = nodes
        self._merged = MergedProgress(progress)
        self._timeout_s = timeout_s
        self._followers = [_Follower(nodes, progress)]
        self._receiving: dict[_Follower, asyncio.Task[None]] = {}
        """If there are several: each takes a message at a time, and no more before it is taken in,
        so that what has arrived is bounded."""
        self._began = False
        self._closed = False

    @property
    def position(self) -> dict[int, int]:
        """The revision up to which changes were handed out, by group: `after` to resume there.

        Changes that share a revision are covered together, by the last of them.
        """
        return self._merged.position

    async def start(self) -> None:
        """Wait until a node has said where the watch starts; `position` then holds it."""
        if self._merged.started:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                while not self._merged.started:
                    await self._receive()
        except TimeoutError as error:
            if isinstance(error, GlobalTableError):
                raise
            raise self._merged.deadline_error() from None

    async def close(self) -> None:
        """End the iteration, and the stream behind it."""
        self._closed = True
        self.interrupt()

    def interrupt(self) -> None:
        """Let go of the streams: the watch or its client is closed."""
        for follower in self._followers:
            follower.end()
        for task in self._receiving.values():
            task.cancel()
        if self._began:
            self._began = False
            self._nodes.ended()

    def follow(self) -> None:
        """Go where what is watched is now."""
        if self._closed or not self._began:
            return
        ended = self._merged.follow(self._nodes.routes)
        by_progress = {id(follower.progress): follower for follower in self._followers}
        for progress in ended:
            by_progress[id(progress)].end()
        self._followers = [
            by_progress.get(id(progress)) or _Follower(self._nodes, progress)
            for progress in self._merged.streams
        ]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        try:
            await self.start()
        except ClientClosed:
            if self._closed:
                raise StopAsyncIteration from None
            raise
        while not self._closed:
            change = self._merged.next_change()
            if change is not None:
                return change
            await self._receive()
        raise StopAsyncIteration

    async def _receive(self) -> None:
        """Take one message or one failure of a stream, or a few if there are several streams."""
        self._nodes.require_open(self._merged.subject)
        if self._closed:
            raise ClientClosed(f"{self._merged.subject}: the watch is closed")
        if not self._began:
            self._began = True
            self._nodes.began()
            self.follow()
        if len(self._followers) == 1 and not self._receiving:
            await self._followers[0].receive()
            return
        for follower in self._followers:
            if follower not in self._receiving:
                self._receiving[follower] = asyncio.create_task(follower.receive())
        done, _ = await asyncio.wait(self._receiving.values(), return_when=asyncio.FIRST_COMPLETED)
        self._receiving = {f: task for f, task in self._receiving.items() if task not in done}
        for task in done:
            if not task.cancelled():
                task.result()
