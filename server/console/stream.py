"""Server-sent events: the cluster as it is, look after look, and the changes of one table.

What a stream is told waits in no queue of its own: of looks the newest counts, and of changes the
newest few (`changes`). A reader that does not take what it is sent is dropped.

Events: `course`, the last minutes of each node's commit latency; `view`; `watch`, what is watched,
or why not; `changes`; and `refused`, before a stream ends that may not go on.

Invariants: there are `STREAMS_MAX` at most; each asks again, at every look, whether its reader may
still look, and ends when it may not.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

import grpc

from globaltable.server.console.calls import SERVICE, CallRefused, Shown
from globaltable.server.console.changes import Waiting
from globaltable.server.console.connections import ABORT, SHOWN
from globaltable.server.console.desk import Desk
from globaltable.server.console.entrance import Event, Receive, Scope, Send
from globaltable.v1 import globaltable_pb2 as pb

STREAMS_MAX: Final = 32
FLUSH_S: Final = 0.25
"""How often changes are sent on, and how often they are fetched."""
HEARTBEAT_S: Final = 15.0
SLOW_S: Final = 10.0
"""A reader that takes nothing for so long is dropped."""
AGAIN_S: Final = 1.0
_RETRY_MS: Final = 2_000
"""After which a browser comes back."""

_AGAIN: Final = {
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""A watch that ended so is begun anew, from the present."""


class Streams:
    """Of one console: an ASGI application for each request of a stream."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._count = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End them all, soon."""
        self._closing.set()

    @property
    def is_full(self) -> bool:
        return self._count >= STREAMS_MAX

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, table: str, prefix: str
    ) -> None:
        """Until the reader goes, takes nothing, or may look no more. Without a table no changes are
        told."""
        self._count += 1
        sending = asyncio.create_task(self._send_all(scope, send, table, prefix))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except TimeoutError:
            scope["state"][ABORT]()
        finally:
            self._count -= 1
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send_all(self, scope: Scope, send: Send, table: str, prefix: str) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        told = _Telling(self._desk, scope["state"][SHOWN], table, prefix, self._closing)
        async with aclosing(told.events()) as events:
            async for event in events:
                async with asyncio.timeout(SLOW_S):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Telling:
    """What one reader is told."""

    def __init__(
        self, desk: Desk, shown: Shown, table: str, prefix: str, closing: asyncio.Event
    ) -> None:
        self._desk = desk
        self._shown = shown
        self._table = table
        self._prefix = prefix
        self._closing = closing
        self._waiting = Waiting()
        self._standing: dict[str, Any] | None = None
        """Of the watch, to be told once."""

    async def events(self) -> AsyncGenerator[bytes, None]:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        watching = asyncio.create_task(self._watch()) if self._table else None
        looking = asyncio.create_task(self._desk.view(self._shown, 0))
        now = asyncio.get_running_loop().time
        told_at, is_first = now(), True
        try:
            while not self._closing.is_set():
                events = []
                await asyncio.wait({looking}, timeout=FLUSH_S)
                if looking.done():
                    view = looking.result()
                    if is_first:
                        events.append(_event("course", self._desk.course()))
                        is_first = False
                    events.append(_event("view", view))
                    looking = asyncio.create_task(self._desk.view(self._shown, view["look"]))
                events += self._of_the_watch()
                if now() - told_at >= HEARTBEAT_S:
                    events.append(b": nothing new\n\n")
                if events:
                    told_at = now()
                    yield b"".join(events)
        except CallRefused as refused:
            yield _event("refused", {"error": str(refused)})
        finally:
            tasks = [task for task in (watching, looking) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _of_the_watch(self) -> list[bytes]:
        events = []
        if self._standing is not None:
            events.append(_event("watch", self._standing))
            self._standing = None
        if (changes := self._waiting.take()) is not None:
            events.append(_event("changes", changes))
        return events

    async def _watch(self) -> None:
        """Of the groups that this node holds. It never waits for the reader."""
        told: dict[str, Any] = {"table": self._table, "prefix": self._prefix, "error": ""}
        while True:
            try:
                held, elsewhere = self._desk.groups_of(self._table)
                self._standing = told | {"elsewhere": elsewhere}
                request = pb.WatchRequest(table=self._table, prefix=self._prefix, groups=held)
                answers: Any = await self._desk.calls.stream(
                    SERVICE + "Watch", request, self._shown
                )
                async with aclosing(answers):
                    async for answer in answers:
                        self._waiting.add(answer.changes)
                        # A busy table is read from its history, in pieces: nothing is fetched
                        # faster than it could be shown.
                        await asyncio.sleep(FLUSH_S)
            except CallRefused as refused:
                if refused.code not in _AGAIN:
                    self._standing = told | {"error": str(refused)}
                    return
                self._waiting.miss(str(refused))
            await asyncio.sleep(AGAIN_S)


def _event(name: str, data: object) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"event: {name}\ndata: {text}\n\n".encode(errors="replace")


async def _gone(receive: Receive) -> None:
    """Return when the reader has gone."""
    with suppress(OSError):
        while True:
            event: Event = await receive()
            if event["type"] == "http.disconnect":
                return
