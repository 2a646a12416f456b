"""What all nodes say of themselves, looked at again and again while somebody looks.

This node looks at itself all the time, at its commit latency alone while nobody looks: the page
begins with some minutes of it. The others are asked for their Status, with this node's certificate,
once for everybody who looks, and not at all when nobody does. A node that does not answer is told
of with the reason.

Invariant: one look is under way at a time, of `ASKED_MAX` calls at once, and it ends within
`TIMEOUT_S` whatever nodes do.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import grpc
import structlog

from globaltable import limits
from globaltable.pace import NodePace, pace
from globaltable.server.console.course import Course
from globaltable.server.histogram import Histogram
from globaltable.server.node_channels import NodeChannels
from globaltable.server.tls import Certificates
from globaltable.topology import Node, Topology
from globaltable.v1 import admin_pb2_grpc as pb_grpc
from globaltable.v1 import globaltable_pb2 as pb

PERIOD_S: Final = 2.0
TIMEOUT_S: Final = 1.5
ASKED_MAX: Final = 16
LOOKED_AT_FOR_S: Final = 10.0
"""So long the others are asked on after somebody has looked."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    # One that comes back is seen within a look or two.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


log = structlog.get_logger(__name__)


class Look(NamedTuple):
    """At all nodes, at one time."""

    number: int
    """Rises by one with each."""
    at_s: float
    """Since the epoch."""
    statuses: Mapping[str, pb.StatusResponse]
    """Of nodes that answered, by name."""
    silent: Mapping[str, str]
    """Why the others did not."""
    paces: Mapping[str, NodePace]
    """Since the look before, of nodes that answered both."""


class Survey:
    """`run` is its task."""

    def __init__(
        self,
        *,
        node: str,
        status: Callable[[], pb.StatusResponse],
        commit: Histogram,
        topology: Callable[[], Topology],
        certificates: Certificates | None,
    ) -> None:
        """`status` is what this node says of itself; `commit`, how long its batches take."""
        self._node = node
        self._status = status
        self._commit = commit
        self._topology = topology
        self._channels = NodeChannels(certificates, _OPTIONS)
        self._loop = asyncio.get_running_loop()
        self._looked_at = -LOOKED_AT_FOR_S
        self._wanted = asyncio.Event()
        self._news = asyncio.Condition()
        self._last: Look | None = None
        self._looks = 0
        self.course = Course()

    async def run(self) -> None:
        """Look for ever; cancelled at the end."""
        while True:
            began = self._loop.time()
            try:
                if began - self._looked_at < LOOKED_AT_FOR_S:
                    await self._look()
                else:
                    self._look_at_own(time.time())
            except Exception:
                # The next one may do: nobody looks any more if this ends.
                log.exception("the look at all nodes failed")
            self._wanted.clear()
            await self._sleep_until(began + PERIOD_S)

    async def _sleep_until(self, due: float) -> None:
        """Who comes when nobody was looking does not wait for the next look."""
        try:
            async with asyncio.timeout_at(due):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        await self._channels.close()

    async def next(self, after: int = 0) -> Look:
        """The first look that is later than number `after`, and not of long ago."""
        now = self._loop.time()
        if now - self._looked_at >= LOOKED_AT_FOR_S:
            self._last = None
            self._wanted.set()
        self._looked_at = now
        async with self._news:
            while self._last is None or self._last.number <= after:
                await self._news.wait()
            return self._last

    def _look_at_own(self, at_s: float) -> None:
        self.course.look(self._node, at_s, self._commit.bounds_s, self._commit.counts)

    async def _look(self) -> None:
        topology = self._topology()
        at_s = time.time()
        room = asyncio.Semaphore(ASKED_MAX)
        others = [node for node in topology.nodes if node.name != self._node]
        async with asyncio.TaskGroup() as asking:
            answers = {node.name: asking.create_task(self._ask(node, room)) for node in others}
        statuses, silent = {self._node: self._status()}, {}
        for name, task in answers.items():
            answer = task.result()
            if isinstance(answer, str):
                silent[name] = answer
            else:
                statuses[name] = answer
        self._look_at_own(at_s)
        for name, status in statuses.items():
            if name != self._node:
                work = status.work
                self.course.look(name, at_s, work.commit_bounds_s, work.commit_counts)
        self.course.keep(topology.node_by_name)
        before = self._last
        told = before.statuses if before is not None else {}
        paces = {
            name: one
            for name, status in statuses.items()
            if name in told and (one := pace(told[name], status)) is not None
        }
        self._looks += 1
        async with self._news:
            self._last = Look(self._looks, at_s, statuses, silent, paces)
            self._news.notify_all()

    async def _ask(self, node: Node, room: asyncio.Semaphore) -> pb.StatusResponse | str:
        """What it says, or why it says nothing."""
        try:
            async with asyncio.timeout(TIMEOUT_S), room:
                stub = pb_grpc.AdminServiceStub(await self._channels.to(node.client))  # type: ignore[arg-type]
                answer: pb.StatusResponse = await stub.GetStatus(  # type: ignore[misc]
                    pb.StatusRequest(), timeout=TIMEOUT_S
                )
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s"
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return f"cannot be reached at {node.client}"
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return "is of a version that tells consoles nothing"
            return f"{error.code().name}: {error.details()}"
        if answer.node != node.name:
            return f"{node.client} is answered by node {answer.node!r}"
        return answer
