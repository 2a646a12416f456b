"""Several nodes in each region, each with some of the groups: clients find who holds what, follow
what changes, and nothing is lost or bound twice when one of the nodes is."""

import threading
from collections.abc import Iterator

import pytest

from globaltable.client import GlobalTable, SyncGlobalTable
from globaltable.errors import ConnectFailed
from globaltable.model import qualified_name
from globaltable.testing import LocalCluster
from tests.cluster.sessions import TABLE, Writer

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(nodes_per_region=2) as cluster:
        yield cluster


def _keys_of_all_groups(cluster: LocalCluster, prefix: str) -> list[str]:
    """So many that every group has some."""
    topology = cluster.config.topology()
    keys = [f"{prefix}:{number}" for number in range(60)]
    assert {topology.group_of(qualified_name(TABLE, key)) for key in keys} == set(range(6))
    return keys


def _client(cluster: LocalCluster, *nodes: str, discover: bool = True) -> SyncGlobalTable:
    addresses = [cluster.addresses[node] for node in nodes]
    return SyncGlobalTable.connect(addresses, table=TABLE, timeout=10.0, discover=discover)


def test_each_node_holds_half_and_one_address_is_enough(cluster: LocalCluster) -> None:
    for node in cluster.nodes:
        assert len(cluster.status(node).groups) == 3
    keys = _keys_of_all_groups(cluster, "one")
    with _client(cluster, "a-1") as client:
        assert all(client.bind(key, "A").created for key in keys)
        for linearizable in (False, True):
            assert client.get_many(keys, linearizable=linearizable).keys() == {*keys}
        assert {key for key, _ in client.scan(prefix="one:", page_size=7)} == {*keys}
        assert len([key for key, _ in client.scan(prefix="one:")]) == len(keys)
        created = [client.create("A", prefix="fresh:")[0] for _ in range(30)]
        assert client.get_many(created, linearizable=True).keys() == {*created}


def test_who_may_ask_one_node_only_is_told_where_to_go(cluster: LocalCluster) -> None:
    keys = _keys_of_all_groups(cluster, "lone")
    topology = cluster.config.topology()
    with _client(cluster, "a-1", discover=False) as client:
        elsewhere = []
        for key in keys[:12]:
            group = topology.groups[topology.group_of(qualified_name(TABLE, key))]
            if "a-1" in group.replicas:
                assert client.bind(key, "A").created
            else:
                elsewhere.append(key)
        with pytest.raises(ConnectFailed, match="no node that holds it could be reached"):
            client.bind(elsewhere[0], "A", timeout=0.3)
    with _client(cluster, "a-1", "a-2", discover=False) as client:
        assert client.bind(elsewhere[0], "A").created


def test_a_watch_is_of_all_groups_and_resumes(cluster: LocalCluster) -> None:
    keys = _keys_of_all_groups(cluster, "watched")
    with _client(cluster, "b-2") as client, client.watch(prefix="watched:") as watch:
        assert len(watch.position) == 6
        for key in keys[:30]:
            client.bind(key, "A")
        seen = {next(watch).key for _ in range(30)}
        position = watch.position
        for key in keys[30:]:
            client.bind(key, "A")
    with (
        _client(cluster, "c-1") as client,
        client.watch(prefix="watched:", after=position) as watch,
    ):
        seen |= {next(watch).key for _ in range(30)}
        assert seen == {*keys}
        with client.watch(key=keys[0]) as of_one:
            client.move(keys[0], to="B", version=1)
            assert next(of_one).unit == "B"


async def test_a_watch_is_of_all_groups_in_asyncio_too(cluster: LocalCluster) -> None:
    keys = _keys_of_all_groups(cluster, "async")
    async with (
        GlobalTable.connect([cluster.addresses["a-2"]], table=TABLE) as client,
        client.watch(prefix="async:") as watch,
    ):
        for key in keys:
            await client.bind(key, "A")
        assert {(await anext(watch)).key for _ in keys} == {*keys}
        assert {key async for key, _ in client.scan(prefix="async:")} == {*keys}


def test_a_node_is_killed_and_its_groups_go_on_from_other_regions(cluster: LocalCluster) -> None:
    writers = [Writer(cluster, f"kill-{node}", node, discover=True) for node in ("a-1", "b-1")]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    with _client(cluster, "a-2", "b-2") as watching, watching.watch(prefix="kill-") as watch:
        for thread in threads:
            thread.start()
        try:
            seen = [next(watch).key for _ in range(100)]
            cluster.kill("a-1")
            told = {writer: len(writer.acknowledged) for writer in writers}
            while any(len(w.acknowledged) < told[w] + 100 for w in writers):
                seen.append(next(watch).key)
        finally:
            for writer in writers:
                writer.stopping = True
            for thread in threads:
                thread.join()
        acknowledged = {key: unit for w in writers for key, unit in w.acknowledged.items()}
        while not acknowledged.keys() <= {*seen}:
            seen.append(next(watch).key)
        assert len(seen) == len({*seen}), "every change once"
    cluster.start("a-1")
    cluster.wait_ready()
    for node in ("a-1", "b-1", "c-2"):
        with _client(cluster, node) as client:
            held = client.get_many(acknowledged, linearizable=True)
            assert {key: binding.unit for key, binding in held.items()} == acknowledged
