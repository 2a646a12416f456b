"""Three real nodes without faults: one answer for all, from everywhere."""

import time
from collections.abc import Iterator

import pytest

from globaltable.errors import NotBound, VersionConflict
from globaltable.model import Binding
from globaltable.testing import LocalCluster
from tests.cluster.sessions import connect, race, wait_equal

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as running:
        yield running


def test_of_all_regions_that_bind_one_key_exactly_one_wins_and_all_are_told(
    cluster: LocalCluster,
) -> None:
    told = race(cluster, [f"race:{number}" for number in range(1_000)])
    for bindings in told.values():
        assert len({binding.unit for binding in bindings}) == 1
        assert [binding.created for binding in bindings].count(True) == 1
        assert {(binding.version, binding.revision) for binding in bindings} == {
            (1, bindings[0].revision)
        }
    holding = wait_equal(cluster)
    assert {key: bindings[0].unit for key, bindings in told.items()} == {
        key: binding.unit for key, binding in holding.items() if key.startswith("race:")
    }
    assert len({bindings[0].unit for bindings in told.values()}) > 1, "no race took place"


def test_a_linearizable_read_sees_what_another_region_was_just_told(cluster: LocalCluster) -> None:
    with connect(cluster, "a") as here, connect(cluster, "c") as there:
        for number in range(50):
            binding = here.bind(f"read:{number}", "A")
            assert there.get(f"read:{number}", linearizable=True) == binding._replace(created=False)


def test_a_session_moves_by_its_version_and_only_by_it(cluster: LocalCluster) -> None:
    with connect(cluster, "a") as a, connect(cluster, "b") as b:
        first = a.bind("move:1", "A")
        second = b.move("move:1", to="B", version=first.version)
        assert (second.unit, second.version) == ("B", 2)
        with pytest.raises(VersionConflict) as conflict:
            a.move("move:1", to="C", version=first.version)
        assert conflict.value.current == second
        b.unbind("move:1", version=2)
        with pytest.raises(NotBound):
            a.move("move:1", to="C", version=2)
        again = a.bind("move:1", "C")
        assert (again.unit, again.version, again.created) == ("C", 4, True)


def test_a_watch_in_another_region_sees_every_change_once_in_order(cluster: LocalCluster) -> None:
    wanted: list[tuple[str, str, str, int]] = []
    with (
        connect(cluster, "a") as a,
        connect(cluster, "b") as b,
        b.watch(prefix="seen:") as changes,
    ):
        for number in range(20):
            key = f"seen:{number}"
            version = a.bind(key, "A").version
            a.move(key, to="B", version=version)
            a.unbind(key, version=version + 1)
            wanted += [("BOUND", key, "A", 1), ("MOVED", key, "B", 2), ("UNBOUND", key, "B", 3)]
        seen = [next(changes) for _ in wanted]
    got = [(change.kind.name, change.key, change.unit, change.version) for change in seen]
    for key in {key for _, key, _, _ in wanted}:
        assert [c for c in got if c[1] == key] == [c for c in wanted if c[1] == key]
    assert sorted(got) == sorted(wanted)


def test_leadership_is_spread_over_the_regions(cluster: LocalCluster) -> None:
    deadline = time.monotonic() + 20
    leaders: list[str] = []
    while {leaders.count(region) for region in cluster.regions} != {1}:
        assert time.monotonic() < deadline, leaders
        time.sleep(0.1)
        leaders = [group.leader_region for group in cluster.status("a").groups]


def test_what_is_bound_already_is_no_error(cluster: LocalCluster) -> None:
    with connect(cluster, "a") as a:
        first = a.bind("twice", "A")
        assert a.bind("twice", "B") == Binding("A", 1, first.revision, created=False)
