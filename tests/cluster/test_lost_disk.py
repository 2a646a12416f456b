"""A node whose disk was lost, and that is started as if it had never served, breaks no word it
gave: it is refused, or asks before it promises anything."""

import shutil

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, until
from tests.cluster.sessions import connect, wait_equal
from tests.cluster.test_backup import command

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def _lose_disk(cluster: LocalCluster, node: str) -> None:
    cluster.kill(node)
    shutil.rmtree(cluster.data_dir(node))


def _bound(cluster: LocalCluster, prefix: str, *nodes: str) -> set[str]:
    keys = [f"{prefix}:{number}" for number in range(20)]
    with connect(cluster, *nodes) as client:
        for key in keys:
            assert client.bind(key, "U").created
    return {*keys}


def _wait_until_all_of_c_wait(cluster: LocalCluster, reason: str) -> None:
    def waiting() -> bool:
        groups = cluster.status("c").groups
        return bool(groups) and all(reason in group.rebuilding for group in groups)

    cluster.wait_serving("c")
    until(waiting)


def test_a_founder_with_an_empty_disk_ends_and_is_rebuilt() -> None:
    """Else b and c, of whom b lacks what a and c hold, would go on without it while a is away."""
    with LocalCluster(groups=3) as cluster:
        keys = _bound(cluster, "all", "a", "b")
        cluster.pause("b")
        keys |= _bound(cluster, "two", "a", "c")
        cluster.kill("a")
        _lose_disk(cluster, "c")
        cluster.resume("b")
        cluster.start_node("c")
        until(lambda: not cluster.is_running("c"))
        said = cluster.log_path("c").read_text()
        assert "has served from another data directory before" in said and "rebuild --all" in said
        config = ("--config", cluster.config_path, "--node", "c")
        rebuilt = command("rebuild", *config, "--all")
        assert rebuilt.returncode == 0, rebuilt
        cluster.start_node("c")
        _wait_until_all_of_c_wait(cluster, "waits for an answer of a")
        cluster.start_node("a")
        cluster.wait_ready()
        assert wait_equal(cluster).keys() >= keys


def test_a_voter_that_joins_with_an_empty_disk_asks_first() -> None:
    """It was not removed, so its group counts on it, and so might a leader of before."""
    with LocalCluster(("a", "b", "c", "d", "e"), groups=2) as cluster:
        # Of a topology that was never changed nobody tells: who joins by it would wait for good.
        assert ask(cluster, "drain", "c")[-1]["done"]
        keys = _bound(cluster, "all", "a", "b")
        cluster.pause("b")
        keys |= _bound(cluster, "four", "a", "c")
        _lose_disk(cluster, "c")
        cluster.start_node("c", "--join")
        # The others go on. To b it may have promised anything.
        _wait_until_all_of_c_wait(cluster, "waits for an answer of b")
        keys |= _bound(cluster, "three", "a", "d")
        cluster.resume("b")
        cluster.wait_ready()
        assert wait_equal(cluster).keys() >= keys
        # It is one of them again: with two of the others away it makes their majority.
        cluster.kill("a")
        cluster.kill("e")
        keys |= _bound(cluster, "after", "c", "b", "d")
        with connect(cluster, "c") as client:
            assert client.get_many(keys, linearizable=True).keys() == keys
