"""Plain functions: a decorator that runs one only for messages whose key lives in this unit.

::

    @routed(unit, "chat", key=lambda message: message.chat, header=lambda message: message.header)
    async def accept(message: Message) -> int:
        ...                          # make it durable; stamped with current().permit.version

    answer = await accept(message)   # Answer(result, header), once it may be acknowledged

For consumers of queues, and whatever else is neither gRPC nor HTTP.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from globaltable.routing.integrations.admission import Gate, admitted

Message = TypeVar("Message")
Result = TypeVar("Result")


class Answer(NamedTuple, Generic[Result]):
    """What the function returned, and a new header for the sender; empty if its own will do."""

    result: Result
    header: bytes


Function = Callable[[Message], Awaitable[Result]]
Routed = Callable[[Message], Awaitable[Answer[Result]]]


def routed(
    gate: Gate,
    dimension: str,
    *,
    key: Callable[[Message], str],
    header: Callable[[Message], bytes] = lambda _message: b"",
) -> Callable[
    [Callable[[Message], Awaitable[Result]]], Callable[[Message], Awaitable[Answer[Result]]]
]:
    """`key` and `header` say what a message is for, and what came with it.

    The decorated function raises, and has then not been run: LivesElsewhere, ComeAgain, NotBound,
    Moving. It raises NotConfirmed if it ran and must not be acknowledged.
    """

    def decorate(function: Function[Message, Result]) -> Routed[Message, Result]:
        @functools.wraps(function)
        async def run(message: Message) -> Answer[Result]:
            async with admitted(gate, dimension, key(message), header(message)) as one:
                result = await function(message)
            return Answer(result, one.decision.header)

        return run

    return decorate
