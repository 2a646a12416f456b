"""Real nodes whose network is cut, or loses packets: who goes on, who says so, who catches up."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.testing import LocalCluster
from globaltable.testing.ways import Way, both
from tests.cluster.sessions import connect, leader_of, race, wait_equal
from tests.faults import emulator
from tests.faults.emulator import Emulator
from tests.faults.recovery import wait_recovered

pytestmark = [pytest.mark.cluster, pytest.mark.long]


class Relayed(NamedTuple):
    cluster: LocalCluster
    numbers: Iterator[int]


@pytest.fixture(scope="module")
def relayed() -> Iterator[Relayed]:
    with LocalCluster(groups=1, link_faults=True) as cluster:
        yield Relayed(cluster, itertools.count())


def _bind_in_time(client: SyncGlobalTable, key: str, tries: int = 10) -> None:
    """Within some elections, each of which a call may meet."""
    for left in reversed(range(tries)):
        try:
            assert client.bind(key, "U", timeout=2.0).unit == "U"
            return
        except (Unavailable, DeadlineExceeded):
            if not left:
                raise


@pytest.mark.parametrize("who", ["leader", pytest.param("follower", marks=pytest.mark.slow)])
def test_a_majority_goes_on_without_who_is_cut_off_which_refuses(
    relayed: Relayed, who: str
) -> None:
    """Neither writes nor linearizable reads are served by a minority, the old leader included."""
    cluster, numbers = relayed
    leader = leader_of(cluster)
    alone = leader if who == "leader" else next(r for r in "abc" if r != leader)
    others = [region for region in "abc" if region != alone]
    key = f"cut:{next(numbers)}"
    cluster.cut(alone)
    with connect(cluster, *others) as majority, connect(cluster, alone) as minority:
        _bind_in_time(majority, key)
        with pytest.raises((Unavailable, DeadlineExceeded)):
            minority.get(key, linearizable=True, timeout=1.0)
        with pytest.raises((Unavailable, DeadlineExceeded)):
            minority.bind(f"{key}:alone", "A", timeout=1.0)
        cluster.heal()
        _bind_in_time(minority, f"{key}:healed")
        assert minority.get(key, linearizable=True) == majority.get(key, linearizable=True)
    wait_recovered(cluster)


@pytest.mark.parametrize("direction", ["hears nobody", "is not heard"])
def test_a_majority_goes_on_beside_a_link_that_works_one_way(
    relayed: Relayed, direction: str
) -> None:
    cluster, numbers = relayed
    half = leader_of(cluster)
    others = [region for region in "abc" if region != half]
    for other in others:
        out = (half, other) if direction == "is not heard" else (other, half)
        cluster.cut(*out, one_way=True)
    with connect(cluster, *others) as majority:
        _bind_in_time(majority, f"half:{next(numbers)}")
    cluster.heal()
    wait_recovered(cluster)


def test_connections_that_break_in_the_midst_of_writes_cost_none_of_them(relayed: Relayed) -> None:
    cluster, numbers = relayed
    run = next(numbers)
    broken = 0
    for part in range(4):
        keys = [f"reset:{run}:{part}:{number}" for number in range(50)]
        broken += cluster.links.reset()
        told = race(cluster, keys)
        for bindings in told.values():
            assert len({(binding.unit, binding.version) for binding in bindings}) == 1
            assert sum(binding.created for binding in bindings) <= 1
    assert broken >= 3
    wait_recovered(cluster)


@pytest.mark.skipif(bool(emulator.why_not()), reason=emulator.why_not() or "possible")
def test_exactly_one_unit_over_a_network_that_loses_doubles_and_reorders_packets() -> None:
    with (
        Emulator("abc", seed=1) as network,
        LocalCluster(groups=2, hosts=network.hosts, wrappers=network.wrappers) as cluster,
    ):
        pairs = both(itertools.combinations("abc", 2))
        network.ways.set(pairs, Way(loss=0.05, duplicates=0.05, jitter_s=0.01))
        told = race(cluster, [f"lossy:{number}" for number in range(150)])
        for key, bindings in told.items():
            assert len({binding.unit for binding in bindings}) == 1, key
            assert sum(binding.created for binding in bindings) <= 1, key
        network.ways.open_all()
        assert network.lost > 0
        assert network.duplicated > 0
        holding = wait_equal(cluster)
        assert {key: holding[key].unit for key in told} == {k: b[0].unit for k, b in told.items()}
