"""What the service asks of a node: ops to be applied, reads, scans, watches, and how it stands.

All of it happens on the event loop's thread, between turns: what a read sees is durable.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from globaltable.errors import Elsewhere, NoQuorum, Overloaded, SlotElsewhere, StorageError
from globaltable.model import (
    SEPARATOR,
    Binding,
    Op,
    Outcome,
    OutcomeStatus,
    qualified_name,
    split_name,
)
from globaltable.row_keys import SLOT_BYTES
from globaltable.server.config import Config
from globaltable.server.core import NodeCore
from globaltable.server.distances import Distances
from globaltable.server.driver import Driver, Told
from globaltable.server.key_watches import group_to_watch
from globaltable.server.peers import PeerLinks
from globaltable.server.round_trip import RoundTrip
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.status import placement_response, status_response, topology_response
from globaltable.server.watches import Watcher, Watches
from globaltable.server.writes import RETRY_DELAY_MS
from globaltable.table import Table
from globaltable.topology import Topology, slots_of
from globaltable.v1 import globaltable_pb2 as pb

_MOVES_FOLLOWED_MAX: Final = 3
"""Of one slot, by one linearizable read."""

SCAN_ROWS_AT_ONCE: Final = 2_000
"""Rows that a scan looks at before the node gets a turn."""

_NOT_CONFIRMED: Final = "no majority confirmed the read in time; retry"


class _Reader:
    """A linearizable read at the barriers of its groups."""

    __slots__ = ("future", "remaining")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.remaining = 0

    def told(self, _positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """A group has let this reader pass its barrier, or will not."""
        self.remaining -= 1
        if self.future.done():
            return
        if outcomes:
            self.future.set_exception(_read_error(outcomes[0]))
        elif self.remaining == 0:
            self.future.set_result(None)


def _read_error(outcome: Outcome) -> NoQuorum | Overloaded | Elsewhere:
    if outcome.status is OutcomeStatus.ELSEWHERE:
        return Elsewhere(outcome.detail)
    if outcome.status is OutcomeStatus.OVERLOADED:
        return Overloaded(outcome.detail, RETRY_DELAY_MS / 1000)
    refused = outcome.status is OutcomeStatus.UNAVAILABLE
    return NoQuorum(outcome.detail if refused else _NOT_CONFIRMED)


class NodeBackend:
    """`Backend` of the service, over a core and its driver."""

    def __init__(
        self,
        config: Config,
        node: str,
        core: NodeCore,
        driver: Driver,
        watches: Watches,
        links: PeerLinks,
        claims: SlotClaims,
    ) -> None:
        self._config = config
        self._node = node
        self._core = core
        self._driver = driver
        self._links = links
        self._claims = claims
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self.tables = config.tables
        self.watches = watches

    @property
    def _topology(self) -> Topology:
        return self._core.topology

    def _deadline(self, timeout_s: float | None) -> float:
        # Whatever a caller asks for: one that has gone must not fill a queue for hours.
        bound_s = self._config.timeouts.request_s
        return self._loop.time() + (
            bound_s if timeout_s is None else max(0.0, min(timeout_s, bound_s))
        )

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None:
        self._driver.submit(ops, self._deadline(timeout_s), told)

    async def barrier(self, names: Iterable[bytes], timeout_s: float | None) -> None:
        """Of a slot that was moved meanwhile the barrier is passed of the group that it went to:
        what that has acknowledged is not known behind the first one's. Raises `SlotElsewhere` if
        it goes on to move."""
        names = list(names)
        deadline = self._deadline(timeout_s)
        for _ in range(_MOVES_FOLLOWED_MAX):
            groups = self._core.routes.groups_of(names)
            await self.barrier_of(set(groups), deadline - self._loop.time())
            places = list(zip(groups, slots_of(names, self._topology.slots), strict=True))
            left = {place: error for place in set(places) if (error := self._why_not_held(*place))}
            if not left:
                return
            names = [name for name, place in zip(names, places, strict=True) if place in left]
        raise next(iter(left.values()))

    def _why_not_held(self, group: int, slot: int) -> SlotElsewhere | None:
        """Of a replica here that serves."""
        holdings = self._core.serving(group).table.holdings
        return None if holdings.holds(slot) else SlotElsewhere(slot, holdings.went_to(slot))

    async def barrier_of(self, groups: Collection[int], timeout_s: float | None) -> None:
        """`barrier`, for all names of these groups."""
        reader = _Reader(self._loop.create_future())
        if not groups:
            return
        reader.remaining = len(groups)
        deadline = self._deadline(timeout_s)
        for group in groups:
            self._driver.submit_read(group, deadline, reader.told)
        try:
            async with asyncio.timeout_at(deadline):
                await reader.future
        except TimeoutError as error:
            raise NoQuorum(_NOT_CONFIRMED) from error

    def read(self, names: Sequence[bytes]) -> list[tuple[Binding | None, int]]:
        group_of = self._core.routes.group_of
        tables: dict[int, Table] = {}
        found = []
        for name in names:
            group = group_of(name)
            table = tables.get(group)
            if table is None:
                table = tables[group] = self._core.serving(group).table
            try:
                found.append((table.get(name), table.applied))
            except StorageError as error:
                raise self._driver.met_damage(group, error) from error
        return found

    def scan(
        self, table: str, prefix: str, token: bytes, count: int, wanted: bytes = b""
    ) -> tuple[list[tuple[str, Binding]], bytes]:
        """Up to `count` entries of the slots wanted (`ScanRequest.slots`) after `token`, and the
        next token: the last row key looked at. It may be fewer while there are more, for most rows
        may be of keys that were unbound."""
        slots = self._topology.slots
        owners = self._core.routes.of_table(table)
        first = int.from_bytes(token[:SLOT_BYTES], "big") if token else 0
        name = qualified_name(table, prefix)
        scanners: dict[int, Any] = {}
        entries: list[tuple[str, Binding]] = []
        rows_left = SCAN_ROWS_AT_ONCE
        for slot in range(first, slots):
            if wanted and not (slot < 8 * len(wanted) and wanted[slot >> 3] >> (slot & 7) & 1):
                continue
            head = slot.to_bytes(SLOT_BYTES, "big")
            group = owners[slot]
            if (moved := self._why_not_held(group, slot)) is not None:
                raise moved
            if group not in scanners:
                scanners[group] = self._core.serving(group).table.scanner()
            start = max(head + name, token + b"\0")
            try:
                for key, binding in scanners[group](start, head + name + b"\xff"):
                    if binding is not None:
                        entries.append((split_name(key[SLOT_BYTES:])[1], binding))
                    rows_left -= 1
                    if len(entries) == count or not rows_left:
                        return entries, key
            except StorageError as error:
                raise self._driver.met_damage(group, error) from error
        return entries, b""

    def open_watch(
        self, start: bytes, exact: bool, after: Mapping[int, int], groups: Sequence[int] = ()
    ) -> Watcher:
        if len(self.watches) >= self._config.limits.watchers:
            raise Overloaded(f"{len(self.watches)} watchers are connected to this node", 1.0)
        present = len(self._topology.groups)
        if exact:
            groups = [group_to_watch(self._core, start, after)]
        elif unknown := [group for group in groups if group >= present]:
            # Of a topology that this node has yet to hear of.
            raise Elsewhere(f"group {unknown[0]} is not known to {self._node}")
        geo = self._topology.geo_of(start.partition(SEPARATOR)[0].decode()).name
        every = [group.number for group in self._topology.groups_in(geo)]
        return self.watches.add(start, exact, groups or every, after)

    def status(self) -> pb.StatusResponse:
        peers = [
            (node.name, self._links.connected(node.name), self._links.round_trip_s(node.name))
            for node in self._topology.nodes
            if node.name != self._node
        ]
        uptime_s = self._loop.time() - self._started_at
        return status_response(self._core, self.tables, uptime_s, peers, self._driver.measures)

    def round_trips(self) -> list[tuple[str, RoundTrip]]:
        """To the other nodes, where it has been measured."""
        measured = [(n.name, self._links.round_trip(n.name)) for n in self._topology.nodes]
        return [(name, round_trip) for name, round_trip in measured if round_trip.samples]

    def topology(self, table: str, known: tuple[int, int]) -> pb.TopologyResponse:
        return topology_response(self._topology, self._claims, self._node, table, known)

    def placement(self, table: str) -> pb.PlacementResponse:
        region_of = self._topology.region_of
        distances = Distances(self._node, region_of, self._links, self._config.round_trips())
        return placement_response(self._core, distances.round_trip_s, table)
