"""Readiness is what a caller would meet: of each group that is held, and of the disk."""

import pytest

from globaltable.errors import Corrupt
from globaltable.server.readiness import BEHIND_ENTRIES_MAX, DISK_STALLED_S, readiness
from tests.server.test_measures import _Trio


@pytest.fixture
def trio() -> _Trio:
    trio = _Trio()
    trio.elect()
    return trio


def test_nodes_that_lead_and_follow_are_ready(trio: _Trio) -> None:
    assert all(readiness(node.core).is_ready for node in trio.nodes.values())


def test_a_node_that_is_cut_off_remembers_a_leader_and_is_not_ready(trio: _Trio) -> None:
    alone = trio.nodes["c"]
    guard = alone.core.replicas[0].guard
    for _ in range(100):
        alone.clock.now += 0.025
        alone.driver.wake()
        alone.clock.run()
        alone.sync()
        alone.sent.clear()
    assert guard.leader == "a", "the pre-vote fails, and nobody tells it otherwise"
    assert readiness(alone.core).ills == {"group/0": "no leader is heard from"}


def test_a_leader_that_is_cut_off_is_not_ready(trio: _Trio) -> None:
    first = trio.first
    for _ in range(200):
        first.clock.now += 0.025
        first.driver.wake()
        first.clock.run()
        first.sync()
        first.sent.clear()
    assert readiness(first.core).of_group(0) == "no leader is heard from"


def test_a_replica_out_of_service_is_named_with_the_reason(trio: _Trio) -> None:
    trio.first.core.fail(0, Corrupt("log entry 7 of group 0 fails its checksum"))
    assert "log entry 7" in readiness(trio.first.core).of_group(0)


def test_a_follower_far_behind_is_not_ready_and_a_little_is_no_matter(
    trio: _Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = trio.nodes["b"].core
    follower = core.replicas[0].guard._follower
    committed = core.replicas[0].guard.commit_index
    monkeypatch.setattr(follower, "_told_committed", committed + BEHIND_ENTRIES_MAX)
    assert readiness(core).is_ready
    monkeypatch.setattr(follower, "_told_committed", committed + BEHIND_ENTRIES_MAX + 1)
    assert readiness(core).ills == {
        "group/0": f"{BEHIND_ENTRIES_MAX + 1} committed entries behind its leader"
    }


def test_a_disk_that_hangs_and_a_node_that_stops_are_told_of(trio: _Trio) -> None:
    core = trio.first.core
    assert readiness(core, persisting_for_s=DISK_STALLED_S).is_ready
    stalled = readiness(core, persisting_for_s=DISK_STALLED_S + 0.1, stopping=True)
    assert set(stalled.ills) == {"disk", "node"}
