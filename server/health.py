"""How a node is, looked at a few times a second: readiness over gRPC, leader changes, loop lag.

gRPC health names (grpc.health.v1): the whole node is the empty one, `globaltable`, and the API's
full name; each group that is held here is `group/N`. Liveness is the answer itself: all of this is
the loop's, and a loop that does not turn answers nobody (over HTTP, `listener` says so).

Invariant: what gRPC and HTTP say of readiness is one and the same (`readiness`).
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from globaltable.server.core import NodeCore
from globaltable.server.measures import Measures
from globaltable.server.readiness import Readiness, readiness

PERIOD_S: Final = 0.25
WHOLE: Final = "globaltable"

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

log = structlog.get_logger(__name__)


class Health:
    """Of one node; `run` is its task."""

    def __init__(self, core: NodeCore, measures: Measures, names: Iterable[str]) -> None:
        """`names` are services that are well if the node is, beside `` and `globaltable`."""
        self._core = core
        self._measures = measures
        self._names = ("", WHOLE, *names)
        self._told: dict[str, int] = {}
        self._ills: dict[str, str] | None = None
        self._led: dict[int, tuple[int, str]] = {}
        self._stopping = False
        self.turned_at = measures.now()
        """When the loop was here last."""
        self.servicer = HealthServicer()

    @property
    def readiness(self) -> Readiness:
        return readiness(
            self._core,
            persisting_for_s=self._measures.persisting_for_s,
            stopping=self._stopping,
        )

    async def run(self) -> None:
        """Look for ever; cancelled at the end."""
        while True:
            await self.look()
            await self._sleep()

    async def _sleep(self) -> None:
        began = self._measures.now()
        await asyncio.sleep(PERIOD_S)
        self.turned_at = self._measures.now()
        self._measures.loop_lag.observe(max(0.0, self.turned_at - began - PERIOD_S))

    async def look(self) -> None:
        """Tell what has changed, to who asks and in the log."""
        self._count_leader_changes()
        now = self.readiness
        if now.ills != self._ills:
            self._ills = dict(now.ills)
            log.info("health", serving=now.is_ready, **({"ills": self._ills} if self._ills else {}))
        for name in self._names:
            await self._tell(name, _SERVING if now.is_ready else _NOT_SERVING)
        held = {*self._core.replicas, *self._core.failures}
        for number in held:
            await self._tell(f"group/{number}", _NOT_SERVING if now.of_group(number) else _SERVING)
        for name in self._told.keys() - {*self._names, *(f"group/{number}" for number in held)}:
            await self._tell(name, _UNKNOWN)

    async def _tell(self, name: str, status: int) -> None:
        if self._told.get(name) != status:
            self._told[name] = status
            await self.servicer.set(name, status)

    def _count_leader_changes(self) -> None:
        """Several within one period count as one; the term tells how many elections there were."""
        for number, replica in self._core.replicas.items():
            guard = replica.guard
            if guard.leader is None:
                continue
            present = (guard.term, guard.leader)
            before = self._led.get(number, present)
            self._led[number] = present
            if present != before:
                self._measures.leader_changes[number] += 1

    async def stop(self) -> None:
        """Not ready from now on: whoever balances load sends nothing more."""
        self._stopping = True
        await self.servicer.enter_graceful_shutdown()
