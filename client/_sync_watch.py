"""A watch of the client for threads: streams, one after another, from whichever nodes hold what it
is of.

Responsible for when a stream is begun, given up and followed by the next. Which changes come of
them is `_watching`'s, and which node is asked the client's.
"""

import contextlib
import queue
import threading
import time
from types import TracebackType
from typing import Any, Self

import grpc

from globaltable.client._attempts import Failure, FailureKind, failure_of
from globaltable.client._merging import MergedProgress
from globaltable.client._settings import ClientClosed
from globaltable.client._watching import WatchedNodes, WatchProgress
from globaltable.client.values import Change
from globaltable.errors import ProtocolError


class _Follower:
    """One stream after another of the same groups, from whichever node holds them."""

    def __init__(self, nodes: WatchedNodes, progress: WatchProgress, lock: threading.Lock) -> None:
        self._nodes = nodes
        self.progress = progress
        self._lock = lock
        """Of all that has arrived: it is held while what a message brought is taken in."""
        self._stream: Any = None
        self._node = 0
        self._over = False
        self._interrupted = threading.Event()
        self._turns: queue.SimpleQueue[float | None] | None = None

    def end(self) -> None:
        """Let go of the stream, and end a pause. May be called from another thread."""
        self._over = True
        self._interrupted.set()
        self._drop_stream()
        if self._turns is not None:
            self._turns.put(None)

    def begin(self, remaining_s: float, done: "_Done") -> None:
        """Take one message or one failure, on a thread of its own, and say so to `done`."""
        if self._turns is None:
            self._turns = queue.SimpleQueue()
            threading.Thread(
                target=self._take_turns, args=(self._turns, done), name="globaltable-client-watch",
                daemon=True,
            ).start()  # fmt: skip
        self._turns.put(remaining_s)

    def _take_turns(self, turns: "queue.SimpleQueue[float | None]", done: "_Done") -> None:
        while (remaining_s := turns.get()) is not None:
            error: Exception | None = None
            try:
                self.receive(remaining_s)
            except Exception as raised:
                error = raised
            done.put((self, error))

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def _is_over(self) -> bool:
        return self._over or self._nodes.closed

    def receive(self, remaining_s: float) -> None:
        """Take one message, or one failure."""
        nodes = self._nodes
        if self._is_over():
            return
        waited_s = 0.0
        timer: threading.Timer | None = None
        try:
            stream = self._stream
            if stream is None:
                self._node, stream = nodes.open_stream(self.progress)
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
                with self._lock:
                    if not self._over:
                        # Else another stream has taken over from what had arrived before.
                        self.progress.received(data)
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
        pause_s = nodes.stream_failed(self.progress, self._node, failure, waited_s)
        self._interrupted.wait(min(pause_s, remaining_s))


_Done = queue.SimpleQueue[tuple[_Follower | None, Exception | None]]


class SyncWatch:
    """The changes of a key or a prefix, in the order of each group's log, each one once.

    An iterator that ends when it is closed. It survives the loss of its node: it goes on at
    another one, after the last change it received. `with` waits until nodes have said where the
    watch starts, so that a scan made then misses nothing that it does not deliver.

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
        self._lock = threading.Lock()
        self._followers = [_Follower(nodes, progress, self._lock)]
        self._receiving: set[_Follower] = set()
        """If there are several: each takes a message at a time, and no more before it is taken in,
        so that what has arrived is bounded."""
        self._done: _Done = queue.SimpleQueue()
        self._began = False
        self._closed = False

    @property
    def position(self) -> dict[int, int]:
        """The revision up to which changes were handed out, by group: `after` to resume there.

        Changes that share a revision are covered together, by the last of them.
        """
        with self._lock:
            return self._merged.position

    def start(self) -> None:
        """Wait until a node has said where the watch starts; `position` then holds it."""
        if self._merged.started:
            return
        started_at = time.monotonic()
        deadline = started_at + self._timeout_s if self._timeout_s is not None else float("inf")
        while not self._merged.started:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise self._merged.deadline_error()
            self._receive(remaining_s)

    def close(self) -> None:
        """End the iteration, and the stream behind it. May be called from another thread."""
        self._closed = True
        self.interrupt()

    def interrupt(self) -> None:
        """Let go of the streams, and end a pause: the watch or its client is closed."""
        for follower in list(self._followers):
            follower.end()
        self._done.put((None, None))
        if self._began:
            self._began = False
            self._nodes.ended()

    def follow(self) -> None:
        """Go where what is watched is now. May be called from another thread."""
        if self._closed or not self._began:
            return
        with self._lock:
            ended = self._merged.follow(self._nodes.routes)
            by_progress = {id(follower.progress): follower for follower in self._followers}
            gone = [by_progress[id(progress)] for progress in ended]
            for follower in gone:
                follower._over = True
            self._followers = [
                by_progress.get(id(progress)) or _Follower(self._nodes, progress, self._lock)
                for progress in self._merged.streams
            ]
        for follower in gone:
            follower.end()
        self._done.put((None, None))

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
            with self._lock:
                change = self._merged.next_change()
            if change is not None:
                return change
            self._receive(float("inf"))
        raise StopIteration

    def _receive(self, remaining_s: float) -> None:
        """Take one message or one failure of a stream."""
        self._nodes.require_open(self._merged.subject)
        if self._closed:
            raise ClientClosed(f"{self._merged.subject}: the watch is closed")
        if not self._began:
            self._began = True
            self._nodes.began()
            self.follow()
        with self._lock:
            followers = list(self._followers)
        if len(followers) == 1 and not self._receiving:
            followers[0].receive(remaining_s)
            return
        for follower in followers:
            if follower not in self._receiving:
                self._receiving.add(follower)
                follower.begin(remaining_s, self._done)
        with contextlib.suppress(queue.Empty):
            done, error = self._done.get(timeout=min(remaining_s, threading.TIMEOUT_MAX))
            if done is not None:
                self._receiving.discard(done)
            if error is not None:
                raise error
