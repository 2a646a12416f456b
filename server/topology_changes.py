"""Changes of the topology as they are asked for: made from what is current, and decided by its CAS.

The topology is a binding of the system table in group 0: version 0 is the founders' file, and each
change moves the binding from the version that it was made from. Of two who change it at once, one
is told to look again.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from globaltable import limits
from globaltable.errors import Corrupt, NoQuorum, ProtocolError
from globaltable.model import TOPOLOGY_NAME, Op, OpKind, Outcome, OutcomeStatus
from globaltable.server.backend import NodeBackend
from globaltable.server.core import NodeCore
from globaltable.server.live_topology import LiveTopology
from globaltable.topology import Topology
from globaltable.topology_change import Change, TopologyRefused, require_settled
from globaltable.wire.topologies import decode_topology, encode_topology

TOPOLOGY_GROUP: Final = 0


class TopologyChanges:
    def __init__(self, core: NodeCore, backend: NodeBackend, live: LiveTopology) -> None:
        self._core = core
        self._backend = backend
        self._live = live
        self._client_id = random.SystemRandom().getrandbits(63)
        self._sequence = 0

    async def current(self, timeout_s: float | None) -> Topology:
        """As it was decided last, anywhere."""
        await self._backend.barrier_of([TOPOLOGY_GROUP], timeout_s)
        self._read()
        return self._live.newest

    def _read(self) -> None:
        binding = self._core.serving(TOPOLOGY_GROUP).table.get(TOPOLOGY_NAME)
        if binding is not None and binding.version > self._live.newest.version:
            try:
                self._live.adopt(decode_topology(binding.unit))
            except ProtocolError as error:
                raise Corrupt(f"the topology's binding: {error}") from error

    async def make(self, change: Change, timeout_s: float | None) -> Topology:
        """Change it; what it is then. Raises `TopologyRefused`, or `NoQuorum`."""
        before = await self.current(timeout_s)
        after = change(before)
        require_settled(before, after, self._live.unsettled)
        text = encode_topology(after)
        if len(text.encode()) > limits.TOPOLOGY_BYTES_MAX:
            raise TopologyRefused(
                f"the topology would be {len(text)} bytes long; at most "
                f"{limits.TOPOLOGY_BYTES_MAX} are allowed"
            )
        kind = OpKind.MOVE if before.version else OpKind.BIND
        outcome = await self._decide(kind, text, before.version, timeout_s)
        if outcome.status in (OutcomeStatus.EXISTS, OutcomeStatus.VERSION_CONFLICT):
            raise TopologyRefused(
                f"somebody else changed version {before.version} of the topology just now; look at "
                "what it is (globaltable member list), and ask again"
            )
        if outcome.status is not OutcomeStatus.APPLIED:
            raise NoQuorum(f"{outcome.status.name}: {outcome.detail}")
        self._live.adopt(after)
        return after

    async def _decide(
        self, kind: OpKind, text: str, version: int, timeout_s: float | None
    ) -> Outcome:
        self._sequence += 1
        decided: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def told(_positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
            if not decided.done():
                decided.set_result(outcomes[0])

        op = Op(kind, TOPOLOGY_NAME, text, version, self._client_id, self._sequence)
        self._backend.submit([op], timeout_s, told)
        return await decided
