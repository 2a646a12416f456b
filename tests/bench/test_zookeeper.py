"""What ZooKeeper's servers are told, and what they say."""

from pathlib import Path

import pytest

from globaltable.bench.systems.zookeeper import configure, mode_in, path_of


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("run:a0:12", "/bench/run:a0:12"),
        ("a/b", "/bench/a%2Fb"),
        ("50%", "/bench/50%25"),
        ("会", "/bench/%E4%BC%9A"),
    ],
)
def test_a_key_is_one_node_below_the_root(key: str, path: str) -> None:
    assert path_of(key) == path


def test_different_keys_are_different_nodes() -> None:
    keys = ["a/b", "a%2Fb", "a%252Fb", "a b", "a+b", "a%20b"]
    assert len({path_of(key) for key in keys}) == len(keys)


def test_a_server_knows_all_servers_by_their_ids_and_syncs_each_write() -> None:
    hosts = {"a": "10.0.0.1", "b": "10.0.0.2"}
    lines = configure("b", hosts, {"a": 1, "b": 2}, Path("/data/b")).splitlines()
    assert {"server.1=10.0.0.1:2888:3888", "server.2=10.0.0.2:2888:3888"} <= set(lines)
    assert {"clientPortAddress=10.0.0.2", "dataDir=/data/b", "tickTime=2000"} <= set(lines)
    assert not [line for line in lines if "forceSync" in line]


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("Zookeeper version: 3.8.0\nLatency min/avg/max: 0/0.0/0\nMode: leader\n", "leader"),
        ("Mode: follower\nNode count: 5\n", "follower"),
        ("This ZooKeeper instance is not currently serving requests\n", ""),
        ("", ""),
    ],
)
def test_the_mode_is_read_from_the_answer(said: str, mode: str) -> None:
    assert mode_in(said) == mode
