"""Scripted nodes on an event loop in a thread of its own, for callers that block."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.client.scripted_node import PATIENCE_S, ScriptedNode

T = TypeVar("T")


class NodeThread:
    """Two nodes: `near` is asked first, `far` if it fails. What their scripts wait for is set by
    `release`, for an event of the loop's is the loop's to set."""

    def __init__(self) -> None:
        self.near = ScriptedNode()
        self.far = ScriptedNode(distance_s=0.05)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted nodes")

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """Do something on the nodes' loop, and wait until it is done."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(2 * PATIENCE_S)

    def release(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)

    def until_asked(self, node: ScriptedNode, method: str, times: int = 1) -> list[Any]:
        return self.run(node.until_asked(method, times))

    def __enter__(self) -> Self:
        self._thread.start()
        for node in (self.near, self.far):
            self.run(node.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for node in (self.near, self.far):
                self.run(node.stop())
            self.run(self._end_tasks())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
            self._loop.close()

    async def _end_tasks(self) -> None:
        """Calls that hang end here, so that the loop leaves nothing behind."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
