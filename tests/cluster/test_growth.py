"""Groups are added, and slots moved to them, while sessions roam and are watched: none is lost or
doubled, no version skipped, and no watcher misses a change."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, run, until
from tests.cluster.roaming import Onlooker, Roamer, require_kept

pytestmark = pytest.mark.cluster


@contextmanager
def _roaming(cluster: LocalCluster, keys: int = 30) -> Iterator[tuple[list[Roamer], Onlooker]]:
    """Roamers at each node, and who watches; at the end all must fit together."""
    onlooker = Onlooker(cluster, "b", "c", "a")
    roamers = [
        Roamer(cluster, f"at-{first}", first, *others, keys=keys)
        for first, *others in (("b", "c", "a"), ("c", "b", "a"))
    ]
    for roamer in roamers:
        roamer.start()
    try:
        yield roamers, onlooker
    finally:
        try:
            for roamer in roamers:
                roamer.stop()
            for roamer in roamers:
                onlooker.wait_for(roamer.versions)
        finally:
            onlooker.close()
    require_kept(cluster, roamers)


def _changes(roamers: list[Roamer]) -> int:
    return sum(sum(roamer.versions.values()) for roamer in roamers)


def test_four_groups_grow_to_eight_under_load_while_a_node_is_killed() -> None:
    with LocalCluster(groups=4, slots=64) as cluster, _roaming(cluster) as (roamers, _):
        until(lambda: _changes(roamers) > 120)
        decided = ask(cluster, "groups", "grow", "--to", "8", "--no-wait")
        assert decided == [{"version": 1, "done": False}]
        (now,) = ask(cluster, "slots", "list")
        assert now["slots"] == 64 and [group["to_hold"] for group in now["groups"]] == [8] * 8
        # Who leads some of the sources is gone, in the midst of their moves.
        cluster.kill("a")
        refused = run(cluster, "groups", "grow", "--to", "8", regions="bc")
        assert refused.status == 1 and "there are 8 already" in refused.stderr
        cluster.start_node("a")
        (done,) = ask(cluster, "slots", "wait", "--timeout", "60")
        assert done["done"] and done["groups"] == 8
        (now,) = ask(cluster, "slots", "list")
        assert [group["holds"] for group in now["groups"]] == [8] * 8 and not now["under_way"]
        changes = _changes(roamers)
        until(lambda: _changes(roamers) > changes + 120)


@pytest.mark.slow
def test_slots_are_moved_and_moved_back_while_all_nodes_are_killed_at_once() -> None:
    with LocalCluster(groups=3, slots=64) as cluster, _roaming(cluster) as (roamers, _):
        until(lambda: _changes(roamers) > 100)
        for to in (1, 2, 0):
            ask(cluster, "slots", "move", "3-60/3", "--to", str(to), "--no-wait")
            for node in cluster.nodes:
                cluster.kill(node)
            for node in cluster.nodes:
                cluster.start_node(node)
            cluster.wait_ready()
            assert ask(cluster, "slots", "wait", "--timeout", "60")[-1]["done"]
        ask(cluster, "slots", "undo", "--no-wait")
        ask(cluster, "slots", "undo", "--timeout", "60")
        (now,) = ask(cluster, "slots", "list")
        assert [group["holds"] for group in now["groups"]] == [22, 21, 21]
