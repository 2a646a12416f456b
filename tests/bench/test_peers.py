"""Real etcd and ZooKeeper, one member in each region: they are led from where they should be, and
of two creates of a key one wins.
"""

import asyncio
import pickle
import shutil
from pathlib import Path
from typing import Final

import pytest

from globaltable.bench import namespaces
from globaltable.bench.network import NetworkError, RoundTrips, open_network
from globaltable.bench.systems import Client, System
from globaltable.bench.systems.etcd import EtcdSystem
from globaltable.bench.systems.zookeeper import ZooKeeperSystem

WHY_NOT: Final = namespaces.why_not()
HAS_ETCD: Final = shutil.which("etcd") is not None
HAS_ZOOKEEPER: Final = Path("/usr/share/java/zookeeper.jar").exists()
REGIONS: Final = ("a", "b", "c")

SYSTEMS: Final = [
    pytest.param(
        EtcdSystem(leader="b"),
        marks=pytest.mark.skipif(not HAS_ETCD, reason="etcd is not installed"),
        id="etcd",
    ),
    pytest.param(
        ZooKeeperSystem(leader="b", sessions=2),
        marks=pytest.mark.skipif(not HAS_ZOOKEEPER, reason="ZooKeeper is not installed"),
        id="zookeeper",
    ),
]


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "possible")
@pytest.mark.parametrize("system", SYSTEMS)
def test_of_creates_in_all_regions_one_wins(system: System) -> None:
    with (
        open_network(REGIONS, RoundTrips(4.0), "namespaces") as network,
        system.start(network) as running,
    ):
        assert running.leader_region == "b"
        targets = [pickle.loads(pickle.dumps(running.target(region))) for region in REGIONS]

        async def race() -> None:
            clients: list[Client] = [await target.connect() for target in targets]
            try:
                for number in range(20):
                    won = await asyncio.gather(
                        *(client.create(f"key/{number}", "v") for client in clients)
                    )
                    assert sorted(won) == [False, False, True]
                assert await clients[0].create("another", "v")
            finally:
                for client in clients:
                    await client.close()

        asyncio.run(race())


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(EtcdSystem(), marks=SYSTEMS[0].marks),
        pytest.param(ZooKeeperSystem(), marks=SYSTEMS[1].marks),
    ],
)
def test_peers_do_not_run_where_nobody_delays_their_packets(system: System) -> None:
    with (
        open_network(REGIONS, RoundTrips(4.0), "injected") as network,
        pytest.raises(NetworkError, match="namespaces"),
        system.start(network),
    ):
        pass
