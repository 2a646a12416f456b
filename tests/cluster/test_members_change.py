"""Nodes come and go while clients bind: nothing acknowledged is lost, and nobody need wait long."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, joiner, run, until
from tests.cluster.sessions import Writer, connect

pytestmark = [pytest.mark.cluster, pytest.mark.long]


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
        assert refused.status == 1 and "add a node in another region first" in refused.stderr
        # Its name is gone for good, and its data do not come back.
        cluster.start("a")
        until(lambda: not cluster.is_running("a"))
        # All at once, with the files of before.
        for region in "bc":
            cluster.kill(region)
        d.kill()
        for region in "bc":
            cluster.start(region)
        d.start(join=False)
        with connect(cluster, "b", "c") as client:
            client.bind("after", "X")
            # A local read may be behind for a moment after a start: these are not.
            for key, unit in writer.acknowledged.items():
                binding = client.get(key, linearizable=True)
                assert binding is not None and binding.unit == unit, key
        assert "the file is older than the topology" in cluster.log_path("b").read_text()


def _refusals_say_what_is_wrong(cluster: LocalCluster) -> None:
    for words, status, says in (
        (("member", "remove", "z"), 1, "there is no node 'z'"),
        (("member", "replicas", "5"), 1, "globaltable member add"),
        (("drain", "z"), 1, "regions: a, b, c"),
        (
            ("member", "add", "--name", "d", "--region", "d", "--peer", "x", "--client", "y"),
            2,
            "host:port",
        ),
    ):
        ended = run(cluster, *words)
        assert ended.status == status, ended
        assert says in ended.stderr
    listed = run(cluster, "member", "list")
    assert listed.status == 0
    assert "NODE" in listed.stdout and "nothing" in listed.stdout


def _leading(cluster: LocalCluster) -> set[str]:
    return {group.leader_region for group in cluster.status("b").groups}


def test_a_drained_region_leads_nothing_and_no_write_fails_by_it() -> None:
    with LocalCluster(groups=3) as cluster:
        writers = [Writer(cluster, region, region) for region in "abc"]
        with ThreadPoolExecutor(3) as pool:
            ended = [pool.submit(writer.run) for writer in writers]
            try:
                assert ask(cluster, "drain", "a")[-1]["done"]
                assert "a" not in _leading(cluster)
                # Where the machine stood still, one of the others may have taken over for a moment.
                until(lambda: _leading(cluster) == {"b", "c"})
                (now,) = ask(cluster, "member", "list")
                assert [node["drained"] for node in now["nodes"]] == [True, False, False]
                assert ask(cluster, "drain", "a", "--undo")[-1]["done"]
                until(lambda: _leading(cluster) == {*"abc"})
            finally:
                for writer in writers:
                    writer.stopping = True
            for end in ended:
                end.result()
        for writer in writers:
            assert len(writer.acknowledged) > 20
            assert writer.failures == 0
        _refusals_say_what_is_wrong(cluster)


@pytest.mark.slow
def test_a_region_comes_and_another_goes_while_leaders_are_killed() -> None:
    """Each change is asked for without waiting for it, and then somebody is killed: nobody does
    anything about it, and it is done all the same."""
    with LocalCluster(groups=4) as cluster, joiner(cluster, "d") as d:
        writers = [Writer(cluster, f"w{n}", *"bca") for n in range(3)]
        with ThreadPoolExecutor(3) as pool:
            ended = [pool.submit(writer.run) for writer in writers]
            try:
                d.start()
                for words in (["add", *d.options], ["remove", "a"]):
                    ask(cluster, "member", *words, "--no-wait", regions="bc")
                    (now,) = ask(cluster, "member", "list", regions="bc")
                    victim = now["groups"][1]["leader"]
                    if victim in "bc":
                        cluster.kill(victim)
                        cluster.start(victim)
                    until(lambda: _is_settled(cluster), 60.0)
                assert all(held == {"b", "c", "d"} for held in _holders(cluster, "bc"))
                until(lambda: not cluster.is_running("a"))
            finally:
                for writer in writers:
                    writer.stopping = True
            for end in ended:
                end.result()
        with connect(cluster, "b", "c") as client:
            kept = {key: binding.unit for key, binding in client.scan()}
        for writer in writers:
            assert len(writer.acknowledged) > 50
            assert {**kept, **writer.acknowledged} == kept


def _is_settled(cluster: LocalCluster) -> bool:
    ended = run(cluster, "member", "list", "--json", regions="bc")
    if ended.status != 0:
        return False
    (now,) = [json.loads(line) for line in ended.stdout.splitlines()]
    return all(not group["waits_for"] for group in now["groups"])
