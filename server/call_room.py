"""Room for calls: how many a node has under way at a time, streams among them.

gRPC has a bound of its own, but gives a call that is over it nothing but a code that it gives to
others too: who is told so knows neither that nothing happened nor when to try again. So calls are
counted here, and those that are refused are told both.

Invariants: no handler runs for a call that there was no room for, and nothing of it was read; what
a call holds is given back however it ends.
"""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import grpc

from globaltable.server.handlers import (
    Context,
    HandlerInterceptor,
    behaviour_of,
    streams_by_yielding,
    with_behaviour,
)
from globaltable.server.refusals import overloaded, refuse

RETRY_S: Final = 0.2
"""After so long, and up to twice as long, a call may be tried again: those that are refused come
together, and should not come back so."""

REFUSALS_PER_CALL: Final = 2
"""gRPC's own bound, as a multiple of this one: of calls that are being told that there is no room
there may be as many as there is room for."""


class CallRoom(HandlerInterceptor):
    """Of one node."""

    def __init__(self, calls_max: int) -> None:
        assert calls_max > 0, calls_max
        super().__init__()
        self.calls_max: Final = calls_max
        self.calls = 0
        """Under way."""
        self.refused = 0
        """Since the node started."""

    def _around(self, method: str, handler: Any) -> Any:
        behaviour = behaviour_of(handler)

        async def awaited(request: Any, context: Context) -> Any:
            if self.calls >= self.calls_max:
                await self._refuse(context)
            self.calls += 1
            try:
                return await behaviour(request, context)
            finally:
                self.calls -= 1

        async def iterated(request: Any, context: Context) -> AsyncIterator[Any]:
            if self.calls >= self.calls_max:
                await self._refuse(context)
            self.calls += 1
            try:
                async with aclosing(behaviour(request, context)) as answers:
                    async for answer in answers:
                        yield answer
            finally:
                self.calls -= 1

        return with_behaviour(handler, iterated if streams_by_yielding(behaviour) else awaited)

    async def _refuse(self, context: Context) -> None:
        self.refused += 1
        message = f"{self.calls} calls are under way at this node, and it takes no more at a time"
        delay_s = RETRY_S * random.uniform(1.0, 2.0)
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, overloaded(message, delay_s))
