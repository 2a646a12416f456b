"""Real nodes whose disk is full, or that die while a snapshot is on its way."""

import time
from pathlib import Path

import pytest

from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.server.config import Limits, Timeouts
from globaltable.testing import LocalCluster
from globaltable.testing.ways import Way, around, both
from tests.cluster.sessions import connect, leader_of, race
from tests.faults import full_disk
from tests.faults.kills import applied, is_needed
from tests.faults.recovery import held, wait_recovered

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SMALL = Limits(log_entries_per_group=16, flush_ops=200, snapshot_chunk_bytes=1_024)
ROWS = 1_000
WELL_UNDER_WAY_BYTES = 10_000
"""Sent to a returning node: more than greetings and heartbeats, less than the table."""


def test_a_node_without_room_ends_and_says_so_and_goes_on_with_room(tmp_path: Path) -> None:
    """The others go on meanwhile, and nothing that was acknowledged is lost."""
    cluster = LocalCluster(directory=tmp_path, groups=1)
    directory = cluster.data_dir("a")
    acknowledged: dict[str, str] = {}
    with full_disk.small_disk(directory) as has_own, cluster, connect(cluster, "b", "c") as client:
        if has_own:
            full_disk.fill(directory)
        else:
            full_disk.keep_from_growing(cluster.pid("a"), directory)
        # Enough that no freed page will do.
        for number in range(5_000):
            if not cluster.is_running("a"):
                break
            key = f"full:{number}"
            try:
                acknowledged[key] = client.bind(key, "u" * 60, timeout=5.0).unit
            except (Unavailable, DeadlineExceeded):
                continue
        assert full_disk.wait_ended(cluster, "a")
        line = full_disk.last_words(cluster, "a", since=0)
        assert f"{directory}/" in line and "cannot be written" in line, line
        cluster.kill("a")
        assert client.bind("without a", "B", timeout=10.0).created
        full_disk.make_room(directory)
        cluster.start("a")
        wait_recovered(cluster)
        holding = held(cluster, "a")
        assert {key: holding[key].unit for key in acknowledged} == acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the receiver", "the sender"])
def test_a_kill_during_a_snapshot_leaves_neither_half_a_table(victim: str) -> None:
    """What was staged is not believed; the next attempt succeeds."""
    with LocalCluster(
        groups=1, limits=SMALL, timeouts=Timeouts(flush_interval_s=0.2), link_faults=True
    ) as cluster:
        leader = leader_of(cluster)
        away, other = [region for region in "abc" if region != leader]
        stood_at = applied(cluster, away)
        cluster.kill(away)
        keys = [f"k:{number}" for number in range(ROWS)]
        told = race(cluster, keys, [leader, other])
        deadline = time.monotonic() + 20
        while not is_needed(cluster, [leader, other], stood_at):
            assert time.monotonic() < deadline, "the log is never cut"
            time.sleep(0.05)
        # So slow that the kill falls into the transfer on any machine.
        cluster.links.ways.set(both(around(away, "abc")), Way(bytes_per_s=20_000))
        before = cluster.links.carried_bytes[leader, away]
        cluster.start(away)
        while cluster.links.carried_bytes[leader, away] - before < WELL_UNDER_WAY_BYTES:
            assert time.monotonic() < deadline + 20, "no snapshot is sent"
            time.sleep(0.02)
        killed = away if victim == "the receiver" else leader
        cluster.kill(killed)
        cluster.heal()
        cluster.start(killed)
        wait_recovered(cluster)
        holding = held(cluster, away)
        assert {key: holding[key].unit for key in keys} == {k: b[0].unit for k, b in told.items()}
