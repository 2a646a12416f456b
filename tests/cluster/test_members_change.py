"""Nodes come and go while clients bind: nothing acknowledged is lost, and nobody need wait long."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, joiner, run, until
from tests.cluster.sessions import Writer, connect

pytestmark = pytest.mark.cluster


def _holders(cluster: LocalCluster, regions: str) -> list[set[str]]:
    (now,) = ask(cluster, "member", "list", regions=regions)
    return [{*group["voters"], *group["learners"]} for group in now["groups"]]


def test_a_region_is_replaced_under_load_and_old_files_are_no_matter_afterwards() -> None:
    with LocalCluster(groups=3) as cluster, joiner(cluster, "d") as d:
        writer = Writer(cluster, "w", "b", "c", "a")
        thread = threading.Thread(target=writer.run)
        thread.start()
        try:
            d.start()
            last = ask(cluster, "member", "replace", "a", *d.options, regions="bc")[-1]
            assert last["done"] and last["version"] == 1
            assert all(held == {"b", "c", "d"} for held in _holders(cluster, "bc"))
            until(lambda: not cluster.is_running("a"))
            assert "removed from the cluster" in cluster.log_path("a").read_text()
            acknowledged = len(writer.acknowledged)
            until(lambda: len(writer.acknowledged) > acknowledged)
        finally:
            writer.stopping = True
            thread.join()
        assert len(writer.acknowledged) > 50
        refused = run(cluster, "member", "remove", "b", regions="c")
        assert refused.returncode == 1 and "add a node in another region first" in refused.stderr
        # Its name is gone for good, and its data do not come back.
        cluster.start_node("a")
        until(lambda: not cluster.is_running("a"))
        # All at once, with the files of before.
        for region in "bc":
            cluster.kill(region)
        d.kill()
        for region in "bc":
            cluster.start_node(region)
        d.start(join=False)
        with connect(cluster, "b", "c") as client:
            client.bind("after", "X")
            for key, unit in writer.acknowledged.items():
                binding = client.get(key, linearizable=key.endswith("0"))
                assert binding is not None and binding.unit == unit
        assert "the file is older than the topology" in cluster.log_path("b").read_text()


def test_a_drained_region_leads_nothing_and_no_write_fails_by_it() -> None:
    with LocalCluster(groups=3) as cluster:
        writers = [Writer(cluster, region, region) for region in "abc"]
        with ThreadPoolExecutor(3) as pool:
            ended = [pool.submit(writer.run) for writer in writers]
            try:
                assert ask(cluster, "drain", "a")[-1]["done"]
                leaders = {g.leader_region for g in cluster.status("b").groups}
                assert leaders == {"b", "c"}
                (now,) = ask(cluster, "member", "list")
                assert [node["drained"] for node in now["nodes"]] == [True, False, False]
                assert ask(cluster, "drain", "a", "--undo")[-1]["done"]
                until(lambda: {g.leader_region for g in cluster.status("b").groups} == {*"abc"})
            finally:
                for writer in writers:
                    writer.stopping = True
            for end in ended:
                end.result()
        for writer in writers:
            assert len(writer.acknowledged) > 20
            assert writer.failures == 0


def test_what_the_commands_refuse_is_said_with_its_status() -> None:
    with LocalCluster(groups=2) as cluster:
        for words, status, says in (
            (("member", "remove", "z"), 1, "there is no node 'z'"),
            (("member", "replicas", "5"), 1, "globaltable member add"),
            (("drain", "z"), 1, "regions: a, b, c"),
            (("member", "add", "--name", "d", "--region", "d", "--peer", "x", "--client", "y"), 2,
             "host:port"),
        ):
            ended: subprocess.CompletedProcess[str] = run(cluster, *words)
            assert ended.returncode == status, ended
            assert says in ended.stderr
        listed = run(cluster, "member", "list")
        assert listed.returncode == 0
        assert "NODE" in listed.stdout and "nothing" in listed.stdout
