"""What the tests do to a cluster: bind from many places at once, and read what each node holds."""

import asyncio
import time
from collections.abc import Iterable

from globaltable.client import GlobalTable, SyncGlobalTable
from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.model import Binding
from globaltable.testing import LocalCluster

TABLE = "im.session"
RACING_AT_A_TIME = 50
"""Binds of a region under way, so that no region is through before the others have begun."""


def connect(
    cluster: LocalCluster, *nodes: str, timeout: float = 10.0, discover: bool = False
) -> SyncGlobalTable:
    """A client of these nodes, in this order; of all if none is named. Of others only if it is to
    `discover` them."""
    addresses = [cluster.addresses[node] for node in nodes or cluster.nodes]
    return SyncGlobalTable.connect(addresses, table=TABLE, timeout=timeout, discover=discover)


def race(
    cluster: LocalCluster,
    keys: Iterable[str],
    regions: Iterable[str] = ("a", "b", "c"),
    *,
    discover: bool = False,
) -> dict[str, list[Binding]]:
    """Bind each key from every region at once, each to its own unit; what each was told."""
    return asyncio.run(_race(cluster, list(keys), list(regions), discover))


async def _race(
    cluster: LocalCluster, keys: list[str], regions: list[str], discover: bool
) -> dict[str, list[Binding]]:
    told: dict[str, list[Binding]] = {key: [] for key in keys}

    ready = asyncio.Barrier(len(regions))

    async def bind_all(region: str) -> None:
        # Each begins elsewhere, or the first to connect would win them all.
        start = len(keys) * regions.index(region) // len(regions)
        order = keys[start:] + keys[:start]
        address = cluster.addresses[region]
        room = asyncio.Semaphore(RACING_AT_A_TIME)

        async def bind(client: GlobalTable, key: str) -> Binding:
            async with room:
                return await client.bind(key, region.upper())

        async with GlobalTable.connect(
            [address], table=TABLE, timeout=20, discover=discover
        ) as client:
            await ready.wait()
            bindings = await asyncio.gather(*(bind(client, key) for key in order))
        for key, binding in zip(order, bindings, strict=True):
            told[key].append(binding)

    await asyncio.gather(*map(bind_all, regions))
    return told


def held(cluster: LocalCluster, region: str) -> dict[str, Binding]:
    """Every binding as the region's own replicas hold it."""
    with connect(cluster, region) as client:
        return dict(client.scan())


def wait_equal(cluster: LocalCluster, timeout_s: float = 20.0) -> dict[str, Binding]:
    """Wait until all replicas have applied the same; what they hold, which must be equal."""
    deadline = time.monotonic() + timeout_s
    while len({_applied(cluster, region) for region in cluster.regions}) > 1:
        assert time.monotonic() < deadline, [
            (region, _applied(cluster, region)) for region in cluster.regions
        ]
        time.sleep(0.05)
    first, *others = [held(cluster, region) for region in cluster.regions]
    for other in others:
        assert other == first
    return first


def _applied(cluster: LocalCluster, region: str) -> tuple[int, ...]:
    return tuple(group.applied_revision for group in cluster.status(region).groups)


def leader_of(cluster: LocalCluster, group: int = 0) -> str:
    """The region that leads a group."""
    return cluster.status(cluster.regions[0]).groups[group].leader_region


class Writer:
    """Binds new keys one after the other until told to stop; remembers what was acknowledged."""

    def __init__(
        self, cluster: LocalCluster, prefix: str, *nodes: str, discover: bool = False
    ) -> None:
        self._client = connect(cluster, *nodes, timeout=10.0, discover=discover)
        self._prefix = prefix
        self.acknowledged: dict[str, str] = {}
        self.longest_wait_s = 0.0
        self.failures = 0
        self.stopping = False

    def run(self, most: int = 100_000) -> None:
        """For a thread of its own."""
        with self._client as client:
            for number in range(most):
                if self.stopping:
                    return
                key = f"{self._prefix}:{number}"
                began = time.monotonic()
                try:
                    self.acknowledged[key] = client.bind(key, self._prefix).unit
                except (Unavailable, DeadlineExceeded):
                    self.failures += 1
                    continue
                self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)
