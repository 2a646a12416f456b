"""GlobalTable as a system under test: real nodes, one in each region of the network.

Responsible for starting them there, for what a client of a region connects to, and for the reads
and watches that only this system's scenarios ask for.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Final

import grpc

from globaltable.bench.network import Network
from globaltable.client import GlobalTable, TlsConfig
from globaltable.errors import GlobalTableError
from globaltable.model import qualified_name
from globaltable.server.config import InjectedLatency, Placement
from globaltable.testing import LocalCluster

NAME: Final = "globaltable"
TABLE: Final = "im.session"
CLIENT_NAME: Final = "bench"
"""Whose certificate callers show, if the nodes ask for one."""
OP_TIMEOUT_S: Final = 10.0
_WATCHES_STARTING_MAX: Final = 64
_POLL_S: Final = 0.05


class NotLedWherePreferred(GlobalTableError):
    """A group is led from elsewhere, for longer than leadership takes to move."""


class GlobalTableClient:
    """Callers of one load process share it, and with it its batches."""

    def __init__(self, table: GlobalTable) -> None:
        self._table = table
        self._watchers: list[asyncio.Task[None]] = []

    async def create(self, key: str, value: str) -> bool:
        return (await self._table.bind(key, value)).created

    async def create_minted(self, prefix: str, value: str) -> str:
        """A new session under a key that the library mints; the key."""
        key, binding = await self._table.create(value, prefix=prefix)
        assert binding.created, f"{key!r} was minted and is bound already"
        return key

    async def get(self, keys: Sequence[str]) -> int:
        """Read them locally, in one call; how many are bound."""
        if len(keys) == 1:
            return int(await self._table.get(keys[0]) is not None)
        return len(await self._table.get_many(keys))

    async def watch(self, names: Sequence[str], *, prefixes: bool = False) -> None:
        """Watch each key, or prefix; returns when every watch has started."""
        room = asyncio.Semaphore(_WATCHES_STARTING_MAX)

        async def start(name: str) -> None:
            async with room:
                key, prefix = (None, name) if prefixes else (name, "")
                watch = self._table.watch(key=key, prefix=prefix, timeout=60.0)
                await watch.start()

            async def follow() -> None:
                async for _ in watch:
                    pass

            self._watchers.append(asyncio.create_task(follow()))

        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(start(name))

    def watching(self) -> int:
        """How many watches go on."""
        return sum(not task.done() for task in self._watchers)

    async def close(self) -> None:
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._table.close()


@dataclass(frozen=True, slots=True)
class GlobalTableTarget:
    """The addresses of the nodes to ask."""

    addresses: tuple[str, ...]
    timeout_s: float = OP_TIMEOUT_S
    tls: TlsConfig | None = None

    async def connect(self) -> GlobalTableClient:
        table = await GlobalTable.connect(
            self.addresses, table=TABLE, timeout=self.timeout_s, discover=False, tls=self.tls
        )
        return GlobalTableClient(table)


class GlobalTableRunning:
    """Nodes that serve. Every region leads some of the groups."""

    leader_region: ClassVar[str | None] = None

    def __init__(self, cluster: LocalCluster, network: Network) -> None:
        self.cluster = cluster
        self._network = network
        self._topology = cluster.config.topology()

    def target(self, region: str) -> GlobalTableTarget:
        """A client in that region, which asks no nodes but its own."""
        addresses = self.cluster.addresses
        asked = tuple(addresses[node] for node in self.cluster.nodes_of(region))
        return GlobalTableTarget(asked, tls=self.cluster.tls(CLIENT_NAME))

    @property
    def groups(self) -> range:
        return range(len(self._topology.groups))

    def group_of(self, key: str) -> int:
        return self._topology.group_of(qualified_name(TABLE, key))

    def keys_of(self, group: int, prefix: str, count: int) -> list[str]:
        """So many keys that belong to a group."""
        keys: list[str] = []
        number = 0
        while len(keys) < count:
            key = f"{prefix}:{number}"
            if self.group_of(key) == group:
                keys.append(key)
            number += 1
        return keys

    def leaders(self, asked: str) -> dict[int, str]:
        """The region that leads each group, as one node knows it; empty while it knows none."""
        return {g.group: g.leader_region for g in self.cluster.status(asked).groups}

    def preferred(self, asked: str) -> dict[int, str]:
        """The region to which the leadership of each group returns."""
        return {g.group: g.preferred_region for g in self.cluster.status(asked).groups}

    def wait_led_where_preferred(self, timeout_s: float) -> float:
        """Until every group is led from its preferred region, as all nodes know it; the moment, of
        CLOCK_MONOTONIC. Raises `NotLedWherePreferred`."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self._leads_where_preferred():
                return time.monotonic()
            time.sleep(_POLL_S)
        raise NotLedWherePreferred(f"leadership is not where it is preferred after {timeout_s:g} s")

    def _leads_where_preferred(self) -> bool:
        try:
            return all(
                self.leaders(region) == self.preferred(region) for region in self.cluster.regions
            )
        except grpc.RpcError:
            return False


class GlobalTableSystem:
    """`prepare` is given the cluster before its nodes start, to fill it; `overrides` replace fields
    of the nodes' configuration."""

    name: ClassVar[str] = NAME

    def __init__(
        self,
        prepare: Callable[[LocalCluster], None] | None = None,
        *,
        nodes_per_region: int = 1,
        **overrides: Any,
    ) -> None:
        self._prepare = prepare
        self._nodes_per_region = nodes_per_region
        self._overrides = overrides

    @contextlib.contextmanager
    def start(self, network: Network) -> Iterator[GlobalTableRunning]:
        # As `globaltable plan` would have it written into the file.
        overrides: dict[str, Any] = {"placement": Placement(0.0, _pairs(network))}
        overrides.update(self._overrides)
        if network.kind == "injected":
            overrides["injected_latency"] = _injected(network)
        cluster = LocalCluster(
            network.regions,
            nodes_per_region=self._nodes_per_region,
            tables=(TABLE,),
            hosts=network.hosts,
            wrappers=network.wrappers,
            **overrides,
        )
        try:
            if self._prepare is not None:
                self._prepare(cluster)
            with cluster:
                yield GlobalTableRunning(cluster, network)
        finally:
            cluster.stop()


def _pairs(network: Network) -> Mapping[frozenset[str], float]:
    return {
        frozenset(pair): network.round_trip_ms(*pair) for pair in combinations(network.regions, 2)
    }


def _injected(network: Network) -> InjectedLatency:
    """What the nodes are told to add, where nothing lies between them that does."""
    return InjectedLatency(0.0, _pairs(network))
