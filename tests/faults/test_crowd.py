"""Clients that only stand there, and never read, take nothing from the others."""

import itertools

import pytest

from globaltable.bench.crowd import crowd
from globaltable.testing import LocalCluster
from tests.cluster.sessions import TABLE, connect, race
from tests.faults.recovery import wait_recovered
from tests.faults.scene import rss_bytes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

IDLE = 600
GROWTH_BYTES_MAX = 150 << 20


def test_watchers_that_never_read_are_bounded_and_hold_up_nobody() -> None:
    with LocalCluster(groups=2) as cluster:
        before = max(rss_bytes(cluster.pid(region)) for region in "abc")
        with crowd(list(cluster.addresses.values()), IDLE, TABLE) as clients:
            assert len(clients) == IDLE
            for part in range(2):
                keys = [f"crowd:{part}:{number}" for number in range(200)]
                told = race(cluster, keys)
                assert all(len({b.unit for b in bindings}) == 1 for bindings in told.values())
            with connect(cluster, "a") as client, client.watch(prefix="seen:") as changes:
                client.bind("seen:1", "A")
                assert [change.key for change in itertools.islice(changes, 1)] == ["seen:1"]
            after = max(rss_bytes(cluster.pid(region)) for region in "abc")
            assert after - before < GROWTH_BYTES_MAX
        wait_recovered(cluster)
