"""Five regions and three replicas of each group: every region writes and reads all of it."""

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.model import qualified_name
from globaltable.testing import LocalCluster
from tests.cluster.sessions import TABLE, race

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.slow]

REGIONS = ("a", "b", "c", "d", "e")


def test_every_region_asks_the_nearest_holder_and_one_may_be_lost() -> None:
    with LocalCluster(REGIONS, groups=5, replicas=3) as cluster:
        topology = cluster.config.topology()
        keys = [f"k{number}" for number in range(100)]
        assert {topology.group_of(qualified_name(TABLE, key)) for key in keys} == set(range(5))
        told = race(cluster, keys, REGIONS, discover=True)
        for bindings in told.values():
            assert len({binding.unit for binding in bindings}) == 1
            assert sum(binding.created for binding in bindings) == 1
        cluster.kill("c")
        for region in ("a", "e"):
            address = cluster.addresses[region]
            with SyncGlobalTable.connect([address], table=TABLE, timeout=10.0) as client:
                held = client.get_many(keys, linearizable=True)
                assert {k: b.unit for k, b in held.items()} == {
                    k: b[0].unit for k, b in told.items()
                }
                assert {key for key, _ in client.scan()} >= {*keys}
                assert all(client.bind(f"{region}{key}", region).created for key in keys[:20])
