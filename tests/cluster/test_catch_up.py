"""A replica that was away longer than the log reaches is caught up by a streamed snapshot."""

import threading
import time

import pytest

from globaltable.server.config import Limits, Timeouts
from globaltable.testing import LocalCluster
from tests.cluster.sessions import Writer, leader_of, race, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.long]

LIMITS = Limits(log_entries_per_group=64, flush_ops=500, snapshot_chunk_bytes=2_048)
TIMEOUTS = Timeouts(flush_interval_s=0.2)


def test_by_snapshot_under_load() -> None:
    with LocalCluster(groups=1, limits=LIMITS, timeouts=TIMEOUTS) as cluster:
        leader = leader_of(cluster)
        away, other = [region for region in "abc" if region != leader]
        early = race(cluster, [f"early:{number}" for number in range(200)])
        wait_equal(cluster)
        cluster.kill(away)
        (stood_at,) = [g.applied_revision for g in cluster.status(leader).groups]
        late: dict[str, str] = {}
        for part in range(30):
            keys = [f"late:{part}:{number}" for number in range(200)]
            told = race(cluster, keys, [leader, other])
            late |= {key: bindings[0].unit for key, bindings in told.items()}
        _wait_compacted(cluster, leader, stood_at)
        writers = [Writer(cluster, f"busy-{region}", region) for region in (leader, other)]
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for thread in threads:
            thread.start()
        cluster.start(away)
        cluster.wait_ready()
        time.sleep(2.0)
        for writer in writers:
            writer.stopping = True
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert all(writer.acknowledged for writer in writers)
        assert max(writer.longest_wait_s for writer in writers) < 2.0, "the transfer held up writes"
        holding = wait_equal(cluster)
        wanted = late | {key: bindings[0].unit for key, bindings in early.items()}
        for writer in writers:
            wanted |= writer.acknowledged
        assert {key: binding.unit for key, binding in holding.items()} == wanted
        # What it holds it can give: the log of the node that was away begins behind the gap.
        assert cluster.status(away).groups[0].first_log_index > stood_at


def _wait_compacted(cluster: LocalCluster, region: str, past: int) -> None:
    deadline = time.monotonic() + 10
    while cluster.status(region).groups[0].first_log_index <= past:
        assert time.monotonic() < deadline, "the log is never compacted"
        time.sleep(0.05)
