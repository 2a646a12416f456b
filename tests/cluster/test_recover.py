"""The majority is lost for good: what a survivor holds goes on in a new cluster, fenced off."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from globaltable.admin.backup import verify
from globaltable.admin.files import opened
from globaltable.admin.salvage import Salvage
from globaltable.client import SyncGlobalTable
from globaltable.errors import ConfigError, ProtocolError
from globaltable.server.handshake import check_hello, decode_hello, encode_hello
from globaltable.testing import LocalCluster
from tests.cluster.growing import Joiner, ask, joiner, until
from tests.cluster.sessions import TABLE, Writer, connect, race, wait_equal
from tests.cluster.test_backup import command, told

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SESSIONS = 300
REALLY = ("--yes-i-may-lose-writes", "local")


def _recover(cluster: LocalCluster, file: Path, *more: str) -> None:
    run = command("recover", file, "--config", cluster.config_path, *more)
    assert run.returncode == 0, run
    assert "MAY LOSE WRITES THAT WERE ACKNOWLEDGED" in run.stderr


@pytest.mark.slow
def test_all_that_a_survivor_holds_goes_on_in_a_new_cluster(tmp_path: Path) -> None:
    """Killed right after a write: nothing was flushed, so all of it is in the log."""
    file = tmp_path / "left"
    with LocalCluster() as cluster:
        race(cluster, [f"cid:{number}" for number in range(SESSIONS)])
        settled = wait_equal(cluster)
        writer = Writer(cluster, "late")
        thread = threading.Thread(target=writer.run)
        thread.start()
        while len(writer.acknowledged) < 50:
            time.sleep(0.01)
        writer.stopping = True
        thread.join()
        with pytest.raises(ConfigError, match="in use by another process"):
            Salvage(cluster.config, ["c"])
        for region in "abc":
            cluster.kill(region)

        started = ("--config", cluster.config_path, "--node", "c")
        asked = command("recover", file, *started)
        assert asked.returncode == 2 and "no terminal to ask at" in asked.stderr
        wrong = command("recover", file, *started, "--yes-i-may-lose-writes", "else")
        assert wrong.returncode == 2 and "is named local" in wrong.stderr
        both = command("recover", file, *started, "--node", "a", *REALLY)
        assert both.returncode == 2 and "a majority of every group: nothing is lost" in both.stderr
        assert not file.exists()
        _recover(cluster, file, "--node", "c", *REALLY)

        # The survivor's directory was given up; to recover once more names the same successor.
        again = command("node", *started)
        assert again.returncode == 2 and "was given up" in again.stderr
        with opened(file) as source:
            header = verify(source, lambda *_: None).header
        with Salvage(cluster.config, ["c"]) as salvage:
            assert salvage.successor_id == header.successor_id

    with LocalCluster() as unfenced:
        refused = command("restore", file, "--config", unfenced.config_path)
        assert refused.returncode == 1
        assert f'cluster_id = "{header.successor_id}"' in refused.stderr
    with LocalCluster(cluster_id=header.successor_id, groups=5) as new:
        restored = told(command("restore", file, "--config", new.config_path, "--json"))
        found = wait_equal(new)
        assert len(found) == restored["imported"]
        for key, binding in settled.items():
            assert (found[key].unit, found[key].version) == (binding.unit, binding.version)
        for key, unit in writer.acknowledged.items():
            assert key not in found or found[key].unit == unit
        _assert_fenced(cluster, new)


def _assert_fenced(old: LocalCluster, new: LocalCluster) -> None:
    """A node of the old cluster is refused by the new one's, though it has their names."""
    hello = decode_hello(encode_hello(old.config.fence, "a", "b", 1))
    with pytest.raises(ProtocolError, match="is not 'local/"):
        check_hello(hello, cluster=new.config.fence, node="b", expected={"a": 0, "c": 0})
    assert new.terminate("b") == 0
    unfenced = replace(new.config, cluster_id="")
    with pytest.raises(ConfigError, match="belongs to cluster 'local/"):
        Salvage(unfenced, ["b"])


@pytest.mark.slow
def test_it_goes_by_what_the_survivors_know_and_not_by_how_it_was_founded(tmp_path: Path) -> None:
    file = tmp_path / "left"
    with LocalCluster(groups=3) as cluster, joiner(cluster, "d") as d:
        d.start()
        assert ask(cluster, "member", "replace", "a", *d.options, regions="bc")[-1]["done"]
        with connect(cluster, "b") as client:
            for number in range(30):
                client.bind(f"cid:{number}", "U")
        until(lambda: _held_by(d) == 30)
        until(lambda: not cluster.is_running("a"))
        for region in "bc":
            cluster.kill(region)
        d.kill()
        # Two of three as it is; of the founders only one.
        most = ("--node", "b", "--node", "d", *REALLY)
        both = command("recover", file, "--config", d.config_path, *most)
        assert both.returncode == 2 and "a majority of every group" in both.stderr
        gone = command("recover", file, "--config", d.config_path, "--node", "a", *REALLY)
        assert gone.returncode != 0 and "nothing of group 0 can be used" in gone.stderr
        left = command("recover", file, "--config", d.config_path, "--node", "d", *REALLY)
        assert left.returncode == 0, left
    assert told(command("verify", file, "--json"))["bindings"] == 30


def _held_by(node: Joiner) -> int:
    address = str(node.node.client)
    with SyncGlobalTable.connect([address], table=TABLE, timeout=5, discover=False) as client:
        return len(dict(client.scan()))


@pytest.mark.slow
def test_of_each_group_the_survivor_with_the_most_counts(tmp_path: Path) -> None:
    file = tmp_path / "left"
    regions = ("a", "b", "c", "d", "e")
    with LocalCluster(regions, groups=2) as cluster:
        race(cluster, [f"cid:{number}" for number in range(60)])
        wait_equal(cluster)
        cluster.kill("d")
        race(cluster, [f"more:{number}" for number in range(60)])
        time.sleep(0.2)
        running = [region for region in regions if region != "d"]
        applied = [g.applied_revision for g in cluster.status("e").groups]
        for region in running:
            cluster.kill(region)
        with Salvage(cluster.config, ["d", "e"]) as salvage:
            survey = salvage.survey()
        assert [found.chosen.node for found in survey] == ["e", "e"]
        assert [found.others[0].node for found in survey] == ["d", "d"]
        for found, seen in zip(survey, applied, strict=True):
            assert found.others[0].last_index < seen <= found.chosen.last_index
            assert found.chosen.tail == found.chosen.last_index - found.chosen.flushed
        _recover(cluster, file, "--node", "d", "--node", "e", *REALLY)
    recovered = told(command("verify", file, "--json"))
    assert recovered["bindings"] == 120
    assert recovered["header"]["origin"] == "salvage"
