"""One node's write stream, for the asyncio client: requests out, messages in, and its end, once.

Knows nothing of what it carries. It is opened by the first request, and over for good when it has
ended: the next request opens another.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # stubs have no room for it

from globaltable.client._attempts import Failure, FailureKind, failure_of

_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class WriteStream:
    """`received` is called with each message, and `ended` once, if not `cancel`led before."""

    def __init__(
        self,
        method: Callable[[], Any],
        received: Callable[[bytes], None],
        ended: Callable[[Failure], None],
    ) -> None:
        self._received = received
        self._ended = ended
        self._unsent: list[bytes] = []
        self._awake = asyncio.Event()
        self._call = method()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    def send(self, request: bytes) -> None:
        """Queue a request; requests leave in order."""
        self._unsent.append(request)
        self._awake.set()

    async def cancel(self) -> None:
        """Let go of the stream, and wait until it has ended; nothing is told from now on."""
        self._ended = _untold
        self._tasks[0].cancel()
        self._call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while True:
                await self._awake.wait()
                self._awake.clear()
                unsent, self._unsent = self._unsent, []
                for request in unsent:
                    await _write(self._call, request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, cygrpc.BaseError):
            pass  # why it ended, the reader is told

    async def _read(self) -> None:
        failure = Failure(FailureKind.UNKNOWN, "the node ended the stream")
        try:
            while (data := await self._call.read()) is not _END:
                self._received(data)
            code = await self._call.code()
            if code is not grpc.StatusCode.OK:
                failure = failure_of(
                    code, await self._call.details(), await self._call.trailing_metadata()
                )
        except grpc.aio.AioRpcError as error:
            failure = failure_of_error(error)
        self._tasks[0].cancel()
        self._ended(failure)


async def _write(call: Any, request: bytes) -> None:
    """As `call.write`, which puts a status of its own (INTERNAL) in the place of the node's if the
    stream turns out to be over; but the node's says whether anything happened."""
    await call.wait_for_connection()
    await call._cython_call.send_serialized_message(request)


def failure_of_error(error: grpc.aio.AioRpcError) -> Failure:
    """What a gRPC error means."""
    metadata: Any = error.trailing_metadata()
    return failure_of(error.code(), error.details(), metadata)


def _untold(_failure: Failure) -> None:
    pass
