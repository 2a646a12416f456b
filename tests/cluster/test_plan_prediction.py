"""What the plan says a commit costs is what callers measure, less what this machine takes itself.

The machine's own constant is what the same binds take, from the same region and led by the same
node, beyond the plan where links are a tenth as long: processes, disks, the way from caller to
node, and how late a busy machine lets go of what it delays. It is measured right before, in as many
binds, and taken off; both are medians, of one bind at a time.

For a machine that does little else: what others take of it meanwhile is measured too.
"""

import statistics
import time

import pytest

from globaltable.placement import RoundTrips, costs_s
from globaltable.server.config import InjectedLatency, Placement
from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, until
from tests.cluster.sessions import connect

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PAIRS_MS = {frozenset("ab"): 20.0, frozenset("bc"): 45.0, frozenset("ac"): 80.0}
BINDS = 150
SHORT = 0.1
"""Of the links, where the constant is measured."""


def _bind_ms(cluster: LocalCluster, region: str) -> float:
    took = []
    began_at = time.monotonic_ns()
    with connect(cluster, region) as client:
        for number in range(BINDS + 10):
            began = time.perf_counter()
            assert client.bind(f"{region}:{began_at}:{number}", "U").created
            took.append(1_000 * (time.perf_counter() - began))
    return statistics.median(took[10:])


def _led_by(cluster: LocalCluster) -> str:
    return cluster.status("a").groups[0].leader_region


def _wait_led(cluster: LocalCluster) -> str:
    """Until the group is led by whom the plan would have; who that is."""
    leader = cluster.config.topology().groups[0].preferred
    deadline = time.monotonic() + 20
    while _led_by(cluster) != leader:
        assert time.monotonic() < deadline, f"{leader} does not lead"
        time.sleep(0.1)
    return leader


def test_the_plan_is_within_a_tenth_of_what_callers_measure() -> None:
    # One group, so that all binds cost the same.
    placement = Placement(80.0, PAIRS_MS)
    short = InjectedLatency(8.0, {pair: SHORT * ms for pair, ms in PAIRS_MS.items()})
    with LocalCluster(groups=1, placement=placement, injected_latency=short) as cluster:
        leader = _wait_led(cluster)
        own_ms = {region: _bind_ms(cluster, region) for region in cluster.regions}
    injected = InjectedLatency(80.0, PAIRS_MS)
    with LocalCluster(groups=1, placement=placement, injected_latency=injected) as cluster:
        assert _wait_led(cluster) == leader
        predicted_s = costs_s(cluster.regions, leader, RoundTrips(0.0, PAIRS_MS).between_s)
        taken_ms = {region: _bind_ms(cluster, region) for region in cluster.regions}
    _require_near({r: 1_000 * s for r, s in predicted_s.items()}, own_ms, taken_ms)


def _require_near(
    predicted_by_ms: dict[str, float], own_ms: dict[str, float], taken_ms: dict[str, float]
) -> None:
    for region, predicted_ms in predicted_by_ms.items():
        constant_ms = own_ms[region] - SHORT * predicted_ms
        measured_ms = taken_ms[region] - constant_ms
        print(f"{region}: {measured_ms:.1f} ms measured, {predicted_ms:.1f} ms by the plan")
        assert measured_ms == pytest.approx(predicted_ms, rel=0.1), (
            region,
            constant_ms,
        )


def test_so_is_the_plan_of_a_running_cluster_before_and_after_it_is_applied() -> None:
    """From what nodes measure; led at first by the worst."""
    short = InjectedLatency(8.0, {pair: SHORT * ms for pair, ms in PAIRS_MS.items()})
    own_ms: dict[str, dict[str, float]] = {}
    with LocalCluster(groups=1, leader="c", injected_latency=short) as cluster:
        for leader in "cb":
            ask(cluster, "plan", "--apply", "--leader", leader)
            own_ms[leader] = {region: _bind_ms(cluster, region) for region in cluster.regions}
    injected = InjectedLatency(80.0, PAIRS_MS)
    with LocalCluster(groups=1, leader="c", injected_latency=injected) as cluster:
        assert _wait_led(cluster) == "c"
        until(lambda: ask(cluster, "plan")[0]["present_leaders"] == ["c"])
        plan, *_ = ask(cluster, "plan")
        assert plan["planned_leaders"] == ["b"]
        taken_ms = {region: _bind_ms(cluster, region) for region in cluster.regions}
        _require_near(plan["commit_ms"], own_ms["c"], taken_ms)
        applied, *_ = ask(cluster, "plan", "--apply")
        assert applied["planned_leaders"] == ["b"] and _led_by(cluster) == "b"
        taken_ms = {region: _bind_ms(cluster, region) for region in cluster.regions}
        _require_near(applied["planned_commit_ms"], own_ms["b"], taken_ms)
