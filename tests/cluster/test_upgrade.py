"""Promise: a cluster is taken to the next release node by node, under load, without a failed write.

Nothing acknowledged is lost by it, and a release that skipped one is refused, and says why.
"""

import sys
import threading
import time
from pathlib import Path

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.sessions import Writer, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_PATIENCE_S = 20.0


def _is(directory: Path, node: str, versions: str) -> None:
    (directory / f"{node}.versions").write_text(versions)


def test_nodes_are_replaced_by_those_of_the_next_release_and_the_one_after(tmp_path: Path) -> None:
    wrappers = {
        node: [
            sys.executable,
            "-m",
            "tests.cluster.other_release",
            str(tmp_path / f"{node}.versions"),
        ]
        for node in "abc"
    }
    with LocalCluster(groups=3, directory=tmp_path, wrappers=wrappers) as cluster:
        writers = [Writer(cluster, f"w{node}", node, discover=True) for node in "abc"]
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for thread in threads:
            thread.start()
        try:
            for versions in ("5 6", "6 7"):
                for node in cluster.nodes:
                    _is(tmp_path, node, versions)
                    assert cluster.terminate(node) == 0
                    cluster.start(node)
                    cluster.wait_ready()
                    for peer in cluster.nodes:
                        assert all(one.connected for one in cluster.status(peer).peers)
        finally:
            for writer in writers:
                writer.stopping = True
            for thread in threads:
                thread.join()
        assert "peer speaks an older version" in cluster.log_path("a").read_text()
        held = wait_equal(cluster)
        for writer in writers:
            assert writer.failures == 0
            assert writer.acknowledged
            assert {key: held[key].unit for key in writer.acknowledged} == writer.acknowledged
        # Back by two, which nobody promised.
        (tmp_path / "c.versions").unlink()
        assert cluster.terminate("c") == 0
        began = cluster.log_path("c").stat().st_size
        cluster.start("c")
        deadline = time.monotonic() + _PATIENCE_S
        while b"protocol version" not in cluster.log_path("c").read_bytes()[began:]:
            assert time.monotonic() < deadline, "it is not told why"
            time.sleep(0.05)
