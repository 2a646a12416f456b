"""A node whose answers the test writes, behind a real gRPC server on a free port.

It does what it is asked, as if every op applied and every key were unbound, unless the test has
said what it does with its next calls. Everything it is asked is noted. Each request of a write
stream is a call of "Write" to the script: it is noted and answered as one, whatever becomes of the
stream's others.
"""

import asyncio
import socket
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import grpc
import grpc.aio

from globaltable.client._attempts import DETAIL_KEY
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.columns import stream_part, write_in

PATIENCE_S: Final = 10.0
"""How long a test waits for what must happen; it never waits for what must not."""

Context = grpc.aio.ServicerContext[Any, Any]
Step = Callable[[Any, Context], Awaitable[Any]]
"""What to do with one call."""

END: Final = "the node ends the stream"
Part = pb.WatchResponse | Step | str
"""One thing to do in a watch: send a message, carry out a step, or END."""


class InParts:
    """An answer to a write that comes bit by bit: positions, and how their ops ended."""

    def __init__(self, *parts: Mapping[int, pb.Outcome] | asyncio.Event) -> None:
        """At an event, the next part is held until it is set."""
        self.parts = parts


def say(response: Any) -> Step:
    """Answer with this, whatever was asked."""

    async def step(request: Any, context: Context) -> Any:
        return response

    return step


def refuse(code: grpc.StatusCode, **detail: Any) -> Step:
    """End the call with a code, and the fields of an `ErrorDetail` if any are given."""
    data = pb.ErrorDetail(**detail).SerializeToString()
    trailers = ((DETAIL_KEY, data),) if detail else ()

    async def step(request: Any, context: Context) -> Any:
        await context.abort(code, "refused by the script", trailers)

    return step


def refuse_when(event: asyncio.Event, code: grpc.StatusCode) -> Step:
    """End the call with a code once the event is set."""
    refused = refuse(code)

    async def step(request: Any, context: Context) -> Any:
        await event.wait()
        return await refused(request, context)

    return step


async def hang(request: Any, context: Context) -> Any:
    """Never answer."""
    await asyncio.Event().wait()


async def end_stream(request: Any, context: Context) -> Any:
    """End the write stream in good order, whatever is under way on it."""
    return END


@contextmanager
def dead_address() -> Iterator[str]:
    """An address at which nobody listens, nor will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


class ScriptedNode(pb_grpc.GlobalTableServiceServicer):
    """One node. `distance_s` is how long it takes to answer a probe, so that tests can tell which
    node is asked first."""

    def __init__(self, distance_s: float = 0.0) -> None:
        self.address = ""
        self.asked: dict[str, list[Any]] = defaultdict(list)
        """By method, every request in the order of arrival."""
        self.write_streams = 0
        """Begun so far."""
        self._distance_s = distance_s
        self._next: dict[str, deque[Step]] = defaultdict(deque)
        self._otherwise: dict[str, Step] = {}
        self._streams: deque[tuple[Part, ...]] = deque()
        self._came = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    # --- life ------------------------------------------------------------------------------------

    async def start(
        self, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
    ) -> None:
        self._server = grpc.aio.server()
        pb_grpc.add_GlobalTableServiceServicer_to_server(self, self._server)
        port = (
            self._server.add_secure_port(address, credentials)
            if credentials is not None
            else self._server.add_insecure_port(address)
        )
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def restart(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Come back, at the same address."""
        await self.start(credentials, self.address)

    async def stop(self) -> None:
        """Break every connection, as a node that dies does."""
        if self._server is not None:
            await self._server.stop(grace=None)

    # --- the script ------------------------------------------------------------------------------

    def then(self, method: str, *steps: Step) -> None:
        """What to do with the next calls of a method, one step each."""
        self._next[method].extend(steps)

    def always(self, method: str, step: Step) -> None:
        """What to do with all calls of a method that no other step is for."""
        self._otherwise[method] = step

    def hold(self, method: str, times: int = 1) -> asyncio.Event:
        """Keep the next calls of a method until the event is set, and then do what they ask."""
        released = asyncio.Event()

        async def step(request: Any, context: Context) -> Any:
            await released.wait()
            return self._obey(method, request)

        self.then(method, *[step] * times)
        return released

    def stream(self, *parts: Part) -> None:
        """What the next Watch sends; at the end of it, it stays open and silent unless told END."""
        self._streams.append(parts)

    async def until_asked(self, method: str, times: int = 1) -> list[Any]:
        """The requests of a method, once there are so many."""
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: len(self.asked[method]) >= times)
        return list(self.asked[method])

    # --- the service -----------------------------------------------------------------------------

    async def WriteStream(  # noqa: N802
        self, requests: AsyncIterator[pb.WriteStreamRequest], context: Context
    ) -> None:
        self.write_streams += 1
        await _ServedStream(self._write, requests, context).serve()

    async def _write(self, request: pb.WriteStreamRequest, context: Context) -> Any:
        return await self._serve("Write", write_in(request), context)

    async def Read(self, request: pb.ReadRequest, context: Context) -> pb.ReadResponse:  # noqa: N802
        response: pb.ReadResponse = await self._serve("Read", request, context)
        return response

    async def Scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:  # noqa: N802
        response: pb.ScanResponse = await self._serve("Scan", request, context)
        return response

    async def Topology(  # noqa: N802
        self, request: pb.TopologyRequest, context: Context
    ) -> pb.TopologyResponse:
        await asyncio.sleep(self._distance_s)
        response: pb.TopologyResponse = await self._serve("Topology", request, context)
        return response

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:  # noqa: N802
        response: pb.StatusResponse = await self._serve("Status", request, context)
        return response

    async def Placement(  # noqa: N802
        self, request: pb.PlacementRequest, context: Context
    ) -> pb.PlacementResponse:
        response: pb.PlacementResponse = await self._serve("Placement", request, context)
        return response

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        parts = self._streams.popleft() if self._streams else ()
        await self._note("Watch", request)
        for part in parts:
            if part == END:
                return
            if isinstance(part, pb.WatchResponse):
                yield part
            elif not isinstance(part, str):
                await part(request, context)
        await hang(request, context)

    async def _note(self, method: str, request: Any) -> None:
        async with self._came:
            self.asked[method].append(request)
            self._came.notify_all()

    async def _serve(self, method: str, request: Any, context: Context) -> Any:
        await self._note(method, request)
        steps = self._next[method]
        step = steps.popleft() if steps else self._otherwise.get(method)
        return await step(request, context) if step is not None else self._obey(method, request)

    def _obey(self, method: str, request: Any) -> Any:
        match method:
            case "Write":
                return pb.WriteResponse(outcomes=[applied(op) for op in request.ops])
            case "Read":
                return pb.ReadResponse(results=[pb.ReadResult() for _ in request.keys])
            case "Scan":
                return pb.ScanResponse()
            case "Placement":
                return pb.PlacementResponse()
            case "Topology":
                return pb.TopologyResponse()
            case _:
                return pb.StatusResponse(node=self.address)


class _ServedStream:
    """One write stream: each of its requests is served in a task of its own."""

    def __init__(
        self,
        answer: Callable[[pb.WriteStreamRequest, Context], Awaitable[Any]],
        requests: AsyncIterator[pb.WriteStreamRequest],
        context: Context,
    ) -> None:
        self._answer = answer
        self._requests = requests
        self._context = context
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sending = asyncio.Lock()
        self._tasks = [asyncio.create_task(self._take())]

    async def serve(self) -> None:
        """Until the caller or the script ends it."""
        try:
            await self._over
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> None:
        async for request in self._requests:
            self._tasks.append(asyncio.create_task(self._carry(request)))
        await asyncio.gather(*self._tasks[1:])
        self._end(None)

    async def _carry(self, request: pb.WriteStreamRequest) -> None:
        try:
            answer = await self._answer(request, self._context)
            match answer:
                case str():
                    self._end(None)
                case pb.WriteStreamResponse():
                    await self._send(answer)
                case pb.WriteResponse():
                    await self._send(_part(request, dict(enumerate(answer.outcomes))))
                case InParts():
                    for part in answer.parts:
                        if isinstance(part, asyncio.Event):
                            await part.wait()
                        else:
                            await self._send(_part(request, part))
        except Exception as error:
            self._end(error)

    async def _send(self, response: pb.WriteStreamResponse) -> None:
        async with self._sending:
            await self._context.write(response)

    def _end(self, error: Exception | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)


def _part(
    request: pb.WriteStreamRequest, outcomes: Mapping[int, pb.Outcome]
) -> pb.WriteStreamResponse:
    part = stream_part(request.number, list(outcomes), list(outcomes.values()))
    return pb.WriteStreamResponse(parts=[part])


def applied(op: pb.Op) -> pb.Outcome:
    """The op took effect: what it made says which op it was."""
    made = pb.Binding(unit=op.unit, version=op.version + 1, revision=op.sequence)
    return pb.Outcome(status=pb.OUTCOME_STATUS_APPLIED, binding=made)


def identities(requests: Iterable[pb.WriteRequest]) -> list[tuple[int, int]]:
    """Who sent each op, and which of theirs it is."""
    return [(request.client_id, op.sequence) for request in requests for op in request.ops]


def position(revisions: Mapping[int, int], *changes: tuple[str, int]) -> pb.WatchResponse:
    """A message of a watch: changes of group 0, as key and revision, and the position behind."""
    return pb.WatchResponse(
        position=[pb.GroupRevision(group=g, revision=r) for g, r in sorted(revisions.items())],
        changes=[
            pb.Change(
                kind=pb.CHANGE_KIND_BOUND, key=key, unit="A", version=1, revision=revision, group=0
            )
            for key, revision in changes
        ],
    )


def after(request: pb.WatchRequest) -> dict[int, int]:
    """Where a watch asked to resume."""
    return {place.group: place.revision for place in request.after}
