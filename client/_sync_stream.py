"""One node's write stream, for the client of threads: requests out, messages in, its end, once.

Knows nothing of what it carries. It is open until it has ended; then another takes its place. A
thread of its own takes the messages, and one of gRPC's takes the requests from a queue.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from globaltable.client._attempts import Failure, FailureKind, failure_of


class SyncWriteStream:
    """`received` is called with each message, and `ended` once, both on the stream's thread."""

    def __init__(
        self,
        method: Callable[[Iterator[bytes]], Any],
        received: Callable[[bytes], None],
        ended: Callable[["SyncWriteStream", Failure], None],
    ) -> None:
        self._received = received
        self._ended = ended
        self._unsent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call = method(iter(self._unsent.get, None))
        self._thread = threading.Thread(
            target=self._read, name="globaltable-client-stream", daemon=True
        )
        self._thread.start()

    def send(self, request: bytes) -> None:
        """Queue a request; requests leave in order."""
        self._unsent.put(request)

    def cancel(self) -> None:
        """Let go of the stream, and wait until it has ended."""
        self._call.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _read(self) -> None:
        try:
            for data in self._call:
                self._received(data)
            failure = Failure(FailureKind.UNKNOWN, "the node ended the stream")
        except grpc.RpcError as error:
            call: Any = error
            failure = failure_of(call.code(), call.details(), call.trailing_metadata())
        finally:
            # Whoever takes requests from the queue is let go of.
            self._unsent.put(None)
        self._ended(self, failure)
