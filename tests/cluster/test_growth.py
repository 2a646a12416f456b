"""Groups are added, and slots moved to them, while sessions roam and are watched: none is lost or
doubled, no version skipped, and no watcher misses a change."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from globaltable.cli.main import run as command
from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, run, until
from tests.cluster.roaming import Onlooker, Roamer, require_kept
from tests.cluster.sessions import connect

pytestmark = pytest.mark.cluster


@contextmanager
def _roaming(
    cluster: LocalCluster, among: Sequence[str] = "bca"
) -> Iterator[tuple[list[Roamer], Onlooker]]:
    """Sessions that roam, and who watches them; at the end all must fit together."""
    onlooker = Onlooker(cluster, *among)
    orders = (among, among[::-1])
    roamers = [Roamer(cluster, f"r{n}", *order, keys=30) for n, order in enumerate(orders)]
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
        cluster.start("a")
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
                cluster.start(node)
            cluster.wait_ready()
            assert ask(cluster, "slots", "wait", "--timeout", "60")[-1]["done"]
        ask(cluster, "slots", "undo", "--no-wait")
        ask(cluster, "slots", "undo", "--timeout", "60")
        (now,) = ask(cluster, "slots", "list")
        assert [group["holds"] for group in now["groups"]] == [22, 21, 21]


@pytest.mark.slow
def test_slots_move_between_nodes_that_hold_one_of_the_two_groups_each() -> None:
    """Steps go to a node of the other group, and clients learn where to ask."""
    cluster = LocalCluster(groups=4, slots=64, nodes_per_region=2)
    nodes = cluster.nodes
    with cluster, _roaming(cluster, among=nodes) as (roamers, _):
        until(lambda: _changes(roamers) > 120)
        (done,) = ask(cluster, "groups", "grow", "--to", "8", regions=nodes)
        assert done["done"] and done["slots_moved"] == 32
        changes = _changes(roamers)
        until(lambda: _changes(roamers) > changes + 120)
        cluster.kill("a-2")
        ask(cluster, "slots", "undo", "--no-wait", regions=nodes[2:])
        cluster.start("a-2")
        (done,) = ask(cluster, "slots", "wait", "--timeout", "60", regions=nodes)
        assert done["done"]


@pytest.mark.slow
def test_a_watch_of_one_key_goes_on_where_its_slot_goes() -> None:
    cluster = LocalCluster(groups=2, slots=8)
    with cluster, connect(cluster, "b", "c", "a", timeout=20.0) as client:
        binding = client.bind("k", "u1")
        with client.watch(key="k") as watch:
            for to in (1, 0, 1):
                run(cluster, "slots", "move", "1-7", "--to", str(to), "--timeout", "60")
                for _ in range(2):
                    version = binding.version
                    binding = client.move("k", to=f"u{version + 1}", version=version)
                    change = next(iter(watch))
                    assert (change.version, change.unit) == (binding.version, binding.unit)


@pytest.mark.slow
def test_no_backup_is_taken_of_slots_that_move(tmp_path: Path) -> None:
    with LocalCluster(groups=2, slots=512) as cluster:
        with connect(cluster, "a") as client:
            for number in range(200):
                client.bind(f"k{number}", "u1")
        nodes = ",".join(cluster.addresses.values())
        ask(cluster, "groups", "grow", "--to", "6", "--no-wait")
        file = str(tmp_path / "backup")
        assert command(["backup", file, "--node", nodes]) == 3
        ask(cluster, "slots", "wait", "--timeout", "60")
        assert command(["backup", file, "--node", nodes]) == 0
        assert command(["verify", file]) == 0
        assert command(["check", "--node", nodes]) == 0
