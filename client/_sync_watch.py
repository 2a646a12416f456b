"""A watch of the client for threads: one stream after another, from whichever node there is.

Responsible for when a stream is begun, given up and followed by the next. Which changes come of
them is `_watching`'s, and which node is asked the client's.
"""

import threading
import time
from types import TracebackType
from typing import Any, Self

import grpc

from globaltable.client._attempts import Failure, FailureKind, failure_of
from globaltable.client._settings import ClientClosed
from globaltable.client._watching import WatchedNodes, WatchProgress
from globaltable.client.values import Change
from globaltable.errors import ProtocolError


class SyncWatch:
    """The changes of a key or a prefix, in the order of each group's log, each one once.

    An iterator that ends when it is closed. It survives the loss of its node: it goes on at
    another one, after the last change it received. `with` waits until a node has said where the
    watch starts, so that a scan made then misses nothing that it does not deliver.

    Iterating raises `Compacted` or `Lagged` if the changes that come next are no longer kept,
    both with the `oldest` revision that is; and, if it could not be started in time, what every
    call raises.
    """

    def __init__(
        self, nodes: WatchedNodes, progress: WatchProgress, timeout_s: float | None
    ) -> None:
        self._nodes = nodes
        self._progress = progress
        self._timeout_s = timeout_s
        self._stream: Any = None
        self._node = 0
        self._closed = False
        self._interrupted = threading.Event()

    @property
    def position(self) -> dict[int, int]:
        """The revision up to which changes were handed out, by group: `after` to resume there.

        Changes that share a revision are covered together, by the last of them.
        """
        return self._progress.position

    def start(self) -> None:
        """Wait until a node has said where the watch starts; `position` then holds it."""
        if self._progress.started:
            return
        started_at = time.monotonic()
        deadline = started_at + self._timeout_s if self._timeout_s is not None else float("inf")
        while not self._progress.started:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise self._progress.deadline_error()
            self._receive(remaining_s)

    def close(self) -> None:
        """End the iteration, and the stream behind it. May be called from another thread."""
        self._closed = True
        self.interrupt()

    def interrupt(self) -> None:
        """Let go of the stream, and end a pause: the watch or its client is closed."""
        self._interrupted.set()
        self._drop_stream()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        try:
            self.start()
        except ClientClosed:
            if self._closed:
                raise StopIteration from None
            raise
        while not self._closed:
            change = self._progress.next_change()
            if change is not None:
                return change
            self._receive(float("inf"))
        raise StopIteration

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def _is_over(self) -> bool:
        return self._closed or self._nodes.closed

    def _receive(self, remaining_s: float) -> None:
        """Take one message, or one failure."""
        nodes = self._nodes
        nodes.require_open(self._progress.subject)
        if self._closed:
            raise ClientClosed(f"{self._progress.subject}: the watch is closed")
        waited_s = 0.0
        timer: threading.Timer | None = None
        try:
            stream = self._stream
            if stream is None:
                self._node, stream = nodes.open_stream(self._progress)
                self._stream = stream
                # A node says at once where a stream starts; after that it may be silent for long.
                waited_s = min(nodes.attempt_timeout_s, remaining_s)
                timer = threading.Timer(waited_s, stream.cancel)
                timer.daemon = True
                timer.start()
                if self._is_over():
                    stream.cancel()
            data = next(stream)
        except StopIteration:
            failure = Failure(FailureKind.UNKNOWN, "the node ended the stream")
        except grpc.RpcError as error:
            call: Any = error
            failure = failure_of(call.code(), call.details(), call.trailing_metadata())
            if call.code() is grpc.StatusCode.CANCELLED and timer is not None:
                failure = Failure(FailureKind.UNKNOWN, "the node did not answer", timed_out=True)
        except ValueError:
            if nodes.closed:
                # So is its channel.
                return
            raise
        else:
            try:
                self._progress.received(data)
            except ProtocolError:
                # Reading on would pass over what this message should have held.
                self._drop_stream()
                raise
            return
        finally:
            if timer is not None:
                timer.cancel()
                timer.join()
        self._drop_stream()
        if self._is_over():
            return
        pause_s = nodes.stream_failed(self._progress, self._node, failure, waited_s)
        self._interrupted.wait(min(pause_s, remaining_s))
