"""Nodes start only where they should, and stop in good order."""

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from globaltable.errors import DeadlineExceeded, Unavailable
from globaltable.server.config_file import render
from globaltable.testing import LocalCluster
from tests.cluster.sessions import connect, leader_of, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.long]


def _start(config: Path, region: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "globaltable", "node", "-c", str(config), "-n", region]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_sigterm_hands_leadership_over_before_the_node_ends() -> None:
    with LocalCluster(groups=3) as cluster, connect(cluster, "a", "b", "c") as client:
        client.bind("before", "A")
        leader = leader_of(cluster)
        others = [region for region in "abc" if region != leader]
        terms = {g.group: g.term for g in cluster.status(others[0]).groups}
        assert cluster.terminate(leader) == 0
        with connect(cluster, *others) as staying:
            began = time.monotonic()
            for number in range(30):
                staying.bind(f"after:{number}", "B")
            assert time.monotonic() - began < 0.45, "an election timeout passed: nothing was handed"
        after = {g.group: g.term for g in cluster.status(others[0]).groups}
        assert any(after[group] == term + 1 for group, term in terms.items())
        cluster.start(leader)
        cluster.wait_ready()
        assert len(wait_equal(cluster)) == 31


def test_a_data_directory_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    with LocalCluster() as cluster:
        assert cluster.terminate("a") == 0
        config, own = cluster.config, cluster.data_dir("a")
        swapped = tmp_path / "swapped.toml"
        moved = replace(config.nodes[1], data_dir=tmp_path / "stolen")
        shutil.copytree(own, tmp_path / "stolen")
        cluster.terminate("b")
        swapped.write_text(
            render(replace(config, nodes=(config.nodes[0], moved, *config.nodes[2:])))
        )
        other = tmp_path / "other.toml"
        other.write_text(render(replace(config, cluster="other")))
        for path, region in ((swapped, "b"), (other, "a")):
            ended = _start(path, region)
            assert ended.returncode != 0
            (line,) = [
                line for line in ended.stderr.splitlines() if line.startswith("globaltable:")
            ]
            assert "data" in line


def test_a_second_process_on_the_same_directory_is_refused() -> None:
    with LocalCluster() as cluster:
        ended = _start(cluster.config_path, "a")
        assert ended.returncode != 0
        assert "globaltable:" in ended.stderr.splitlines()[-1]
        assert cluster.is_running("a")


def test_a_wrong_configuration_is_one_line_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    right = render(LocalCluster(directory=tmp_path).config)
    path.write_text(right.replace("[timeouts]", "[timeouts]\nspeed = 9"))
    ended = _start(path, "a")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "speed" in ended.stderr


def test_one_region_of_three_is_enough_to_read_and_not_to_write() -> None:
    with LocalCluster(groups=2) as cluster:
        with connect(cluster, "a") as client:
            client.bind("k", "A")
        wait_equal(cluster)
        cluster.kill("b")
        cluster.kill("c")
        with connect(cluster, "a", timeout=1.5) as client:
            binding = client.get("k")
            assert binding is not None and binding.unit == "A"
            with pytest.raises((Unavailable, DeadlineExceeded)):
                client.bind("new", "A")
            with pytest.raises((Unavailable, DeadlineExceeded)):
                client.get("k", linearizable=True)
        cluster.start("b")
        cluster.wait_ready()
        with connect(cluster, "a") as client:
            assert client.bind("newer", "A").created
