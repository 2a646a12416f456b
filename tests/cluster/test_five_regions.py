"""Five real nodes: a majority of three goes on without any two, and every region answers."""

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.sessions import connect, leader_of, race, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.slow]

REGIONS = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("lost", ["two followers", "the leader and a follower"])
def test_any_two_of_five_may_be_lost(lost: str) -> None:
    with LocalCluster(REGIONS, groups=1) as cluster:
        first = race(cluster, [f"first:{number}" for number in range(100)], REGIONS)
        leader = leader_of(cluster)
        followers = [region for region in REGIONS if region != leader]
        killed = followers[:2] if lost == "two followers" else [leader, followers[0]]
        for region in killed:
            cluster.kill(region)
        left = [region for region in REGIONS if region not in killed]
        second = race(cluster, [f"second:{number}" for number in range(100)], left)
        for region in left:
            with connect(cluster, region) as client:
                assert client.bind(f"from {region}", region).created
        for region in killed:
            cluster.start(region)
        cluster.wait_ready()
        holding = wait_equal(cluster)
        told = first | second
        for key, bindings in told.items():
            assert {binding.unit for binding in bindings} == {holding[key].unit}
            assert sum(binding.created for binding in bindings) == 1
        assert len(holding) == len(told) + len(left)
