"""Three real nodes at unequal distances: a create is decided in a group that is as near as any."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.model import qualified_name
from globaltable.placement import RoundTrips, costs_s
from globaltable.server.config import Config, InjectedLatency, Placement
from globaltable.testing import LocalCluster
from tests.cluster.sessions import TABLE, connect

pytestmark = [pytest.mark.cluster, pytest.mark.long]

PAIRS_MS = {frozenset("ab"): 4.0, frozenset("bc"): 40.0, frozenset("ac"): 90.0}
ROUND_TRIPS = RoundTrips(0.0, PAIRS_MS)
PATIENCE_S = 30.0
CREATES = 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Leaders are dealt out as if all links were equal, so that there is something to choose."""
    with LocalCluster(
        groups=6,
        injected_latency=InjectedLatency(0.0, PAIRS_MS),
        placement=Placement(10.0),
    ) as running:
        _wait_for_leaders(running, "abcabc")
        yield running


def _leaders(cluster: LocalCluster) -> str:
    return "".join(group.leader_region for group in cluster.status("a").groups)


def _wait_for_leaders(cluster: LocalCluster, leaders: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while _leaders(cluster) != leaders:
        assert time.monotonic() < until, _leaders(cluster)
        time.sleep(0.05)


def _measures_well(cluster: LocalCluster, region: str) -> bool:
    """The machine is not so busy that links seem other than they are, and leaders stay."""
    measured = {peer.region: 1_000 * peer.round_trip_s for peer in cluster.status(region).peers}
    true = {peer: ROUND_TRIPS.between_ms(region, peer) for peer in measured}
    close = all(-1.0 <= ms - true[peer] <= 25.0 for peer, ms in measured.items())
    return close and _leaders(cluster) == "abcabc"


def _create_while_it_measures_well(cluster: LocalCluster, region: str) -> list[str]:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if _measures_well(cluster, region):
            with connect(cluster, region) as client:
                keys = [client.create(region.upper(), prefix="cid:").key for _ in range(CREATES)]
            if _measures_well(cluster, region):
                return keys
        time.sleep(0.1)
    raise AssertionError("the machine is too busy to measure a round trip")


@pytest.mark.parametrize(
    ("region", "near", "floor_ms"), [("a", "ab", 4), ("b", "ab", 4), ("c", "bc", 40)]
)
def test_from_each_region_it_costs_the_round_trip_to_the_nearest_other(
    cluster: LocalCluster, region: str, near: str, floor_ms: float
) -> None:
    keys = _create_while_it_measures_well(cluster, region)
    topology = cluster.config.topology()
    leaders = [
        topology.groups[topology.group_of(qualified_name(TABLE, key))].preferred for key in keys
    ]
    assert set(leaders) == set(near), "both would do, and the load is shared"
    for leader in near:
        cost_s = costs_s("abc", leader, ROUND_TRIPS.between_s)[region]
        assert cost_s == pytest.approx(floor_ms / 1_000)
    with connect(cluster, region) as client:
        held = client.get_many(keys, linearizable=True)
    assert set(held) == set(keys) and len(held) == CREATES
    assert {binding.unit for binding in held.values()} == {region.upper()}


def test_creates_go_on_when_the_nearest_node_is_lost(cluster: LocalCluster) -> None:
    addresses = [cluster.addresses[region] for region in "ab"]
    with SyncGlobalTable.connect(addresses, table=TABLE, timeout=15.0, discover=False) as client:
        made = [client.create("A") for _ in range(5)]
        cluster.kill("a")
        made += [client.create("A") for _ in range(20)]
        held = client.get_many([key for key, _ in made], linearizable=True)
    assert len(held) == 25
    assert all(held[key] == binding._replace(created=False) for key, binding in made)
    cluster.start("a")
    cluster.wait_ready()


@pytest.mark.slow
def test_nodes_that_would_have_others_lead_say_so_and_stay_connected() -> None:
    """The files differ while they are replaced one after the other."""

    def seen_by(region: str, config: Config) -> Config:
        wanted = {"a": "b", "b": "c", "c": "a"}[region]
        far = frozenset({*"abc"} - {wanted})
        return replace(config, placement=Placement(1.0, {far: 99.0}))

    with LocalCluster(groups=2, seen_by=seen_by) as cluster:
        until = time.monotonic() + PATIENCE_S
        while not all("another plan" in cluster.log_path(r).read_text() for r in "abc"):
            assert time.monotonic() < until
            time.sleep(0.05)
        with connect(cluster) as client:
            assert client.create("A").binding.created
        assert all(peer.connected for peer in cluster.status("a").peers)
