"""Promise: users test their own code against a real cluster, and against what may befall it.

The first tests are written as a user would write them.
"""

import time
import uuid

import pytest

from globaltable.client import GlobalTable, SyncGlobalTable
from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.testing import ClusterError, LocalCluster

pytestmark = pytest.mark.cluster


def test_a_session_outlives_its_node(globaltable_cluster: LocalCluster) -> None:
    key = f"cid:{uuid.uuid4()}"
    addresses = globaltable_cluster.addresses.values()
    with SyncGlobalTable.connect(addresses, table="im.session") as sessions:
        assert sessions.bind(key, unit="A").created
        globaltable_cluster.kill("a")
        assert not sessions.bind(key, unit="B", timeout=10).created
        assert sessions.get(key, linearizable=True, timeout=10) is not None


async def test_one_of_two_regions_wins(globaltable_cluster: LocalCluster) -> None:
    key = f"cid:{uuid.uuid4()}"
    addresses = globaltable_cluster.addresses.values()
    async with GlobalTable.connect(addresses, table="im.session", timeout=10) as sessions:
        globaltable_cluster.cut("b", "c")
        first = await sessions.bind(key, unit="A")
        second = await sessions.bind(key, unit="B")
        assert first.created and not second.created
        assert second.unit == "A"


def test_who_is_cut_off_refuses_until_it_is_healed(globaltable_cluster: LocalCluster) -> None:
    """By the name of the region, both ways: neither its writes nor its barriers pass."""
    key = f"cid:{uuid.uuid4()}"
    cluster = globaltable_cluster
    only_c = [cluster.addresses["c"]]
    with SyncGlobalTable.connect(only_c, table="im.session", discover=False) as sessions:
        cluster.cut("c")
        with pytest.raises((Unavailable, DeadlineExceeded)):
            sessions.bind(key, unit="C", timeout=1.0)
        cluster.heal()
        assert sessions.bind(key, unit="C", timeout=10.0).unit == "C"


def test_a_delay_is_paid_by_who_writes_and_gone_when_healed(
    globaltable_cluster: LocalCluster,
) -> None:
    cluster = globaltable_cluster
    with SyncGlobalTable.connect(cluster.addresses.values(), table="im.session") as sessions:

        def took_s() -> float:
            began = time.monotonic()
            sessions.bind(f"cid:{uuid.uuid4()}", unit="A", timeout=10.0)
            return time.monotonic() - began

        for region in cluster.regions:
            cluster.delay(region, round_trip_ms=100)
        # A follower's way to its leader and back, or the leader's to a follower.
        assert took_s() >= 0.1
        cluster.heal()
        assert min(took_s() for _ in range(20)) < 0.1


def test_a_cluster_is_mended_whatever_was_done_to_it(globaltable_cluster: LocalCluster) -> None:
    cluster = globaltable_cluster
    cluster.cut("a", "b", one_way=True)
    cluster.delay("b", "c", round_trip_ms=5)
    cluster.pause("b")
    cluster.mend()
    assert all(cluster.is_running(node) for node in cluster.nodes)
    assert cluster.links.ways.changed() == []
    for node in cluster.nodes:
        assert all(group.leader_region for group in cluster.status(node).groups)


def test_links_that_are_direct_cannot_be_cut() -> None:
    with pytest.raises(ClusterError, match="link_faults=True"):
        LocalCluster().cut("a", "b")
