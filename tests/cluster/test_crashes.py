"""kill -9 of real nodes: nothing acknowledged is lost, nothing is bound twice, writes go on."""

import threading
import time

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.sessions import Writer, connect, leader_of, race, wait_equal

pytestmark = [pytest.mark.cluster]


def _acknowledged_are_held(cluster: LocalCluster, writers: list[Writer]) -> None:
    holding = wait_equal(cluster)
    for writer in writers:
        for key, unit in writer.acknowledged.items():
            assert key in holding, f"{key} was acknowledged and is lost"
            assert holding[key].unit == unit


@pytest.mark.parametrize(
    "victim", [pytest.param("a follower", marks=pytest.mark.slow), "the leader"]
)
def test_a_node_is_killed_under_load_and_comes_back(victim: str) -> None:
    """One group, so that there is one leader. Clients are given all nodes, their own first."""
    with LocalCluster(groups=1) as cluster:
        leader = leader_of(cluster)
        killed = leader if victim == "the leader" else next(r for r in "abc" if r != leader)
        writers = [
            Writer(cluster, region, region, *[other for other in "abc" if other != region])
            for region in "abc"
        ]
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        cluster.kill(killed)
        time.sleep(3.0)
        before = {writer: len(writer.acknowledged) for writer in writers}
        cluster.start(killed)
        cluster.wait_ready()
        time.sleep(1.0)
        for writer in writers:
            writer.stopping = True
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert all(len(writer.acknowledged) > before[writer] for writer in writers)
        assert max(writer.longest_wait_s for writer in writers) < 8.0
        _acknowledged_are_held(cluster, writers)


def test_all_nodes_are_killed_at_once_and_restarted() -> None:
    """Three times over, in the middle of writes, on the same disks."""
    with LocalCluster(groups=4) as cluster:
        told: dict[str, str] = {}
        for life in range(3):
            writers = [Writer(cluster, f"life{life}{region}", region) for region in "abc"]
            threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
            raced = race(cluster, [f"race{life}:{number}" for number in range(300)])
            told |= {key: bindings[0].unit for key, bindings in raced.items()}
            for thread in threads:
                thread.start()
            time.sleep(0.4)
            for region in "abc":
                cluster.kill(region)
            for writer in writers:
                writer.stopping = True
            for region in "abc":
                cluster.start(region)
            cluster.wait_ready()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            assert all(len(writer.acknowledged) > 10 for writer in writers)
            _acknowledged_are_held(cluster, writers)
        holding = wait_equal(cluster)
        assert {key: holding[key].unit for key in told} == told
        # And to bind again what was bound before changes nothing.
        again = race(cluster, told)
        assert {key: bindings[0].unit for key, bindings in again.items()} == told
        assert not any(binding.created for bindings in again.values() for binding in bindings)


def test_a_watch_goes_on_at_another_node_when_its_own_is_killed() -> None:
    with (
        LocalCluster(groups=2) as cluster,
        connect(cluster, "b") as writing,
        connect(cluster, "a", "b", "c") as watching,
        watching.watch(prefix="w:") as changes,
    ):
        keys = [f"w:{number}" for number in range(60)]
        seen: list[str] = []
        for number, key in enumerate(keys):
            if number == 30:
                cluster.kill("a")
            writing.bind(key, "B")
            if number % 10 == 9:
                seen += [next(changes).key for _ in range(10)]
        assert sorted(seen) == sorted(keys)


def test_a_node_that_stands_still_is_survived_and_catches_up() -> None:
    """SIGSTOP: its connections stay up, so only silence tells."""
    with LocalCluster(groups=2) as cluster:
        leader = leader_of(cluster)
        others = [region for region in "abc" if region != leader]
        writer = Writer(cluster, "stopped", *others)
        thread = threading.Thread(target=writer.run)
        cluster.pause(leader)
        thread.start()
        time.sleep(3.0)
        cluster.resume(leader)
        writer.stopping = True
        thread.join(30)
        assert not thread.is_alive()
        assert len(writer.acknowledged) > 20
        assert writer.longest_wait_s < 4.0
        _acknowledged_are_held(cluster, [writer])
