"""Tables that are kept to some regions: their rows are on no disk elsewhere, and clients of every
region find them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.errors import ConfigError
from globaltable.geo import Geo
from globaltable.server.config import GeoConfig
from globaltable.server.starting import begin
from globaltable.testing import LocalCluster
from tests.cluster.growing import ask, joiner, run, until
from tests.cluster.test_backup import command, told

pytestmark = pytest.mark.cluster

EU = GeoConfig(Geo("eu", ("a", "b", "c"), ("eu.*",)), groups=2, leader="b")
TABLES = ("im.session", "eu.session")
KEYS = [f"key-{number}" for number in range(40)]
UNIT = "unit-of-europe"
"""Looked for on the disks."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        ("a", "b", "c", "d"), tables=TABLES, groups=2, replicas=3, geos=(EU,)
    ) as running:
        yield running


def _client(cluster: LocalCluster, node: str, table: str = "eu.session") -> SyncGlobalTable:
    return SyncGlobalTable.connect([cluster.addresses[node]], table=table, timeout=10.0)


def _on_disk(cluster: LocalCluster, node: str) -> bool:
    files = [path for path in cluster.data_dir(node).rglob("*") if path.is_file()]
    assert len(files) >= 4
    return any(UNIT.encode() in path.read_bytes() for path in files)


def test_a_client_in_any_region_reaches_what_is_kept_elsewhere(cluster: LocalCluster) -> None:
    for node in "ad":
        with (
            _client(cluster, node) as client,
            _client(cluster, node, "im.session") as others,
            client.watch(prefix=f"{node}-") as watch,
        ):
            keys = [f"{node}-{key}" for key in KEYS]
            assert all(client.bind(key, UNIT).created for key in keys)
            assert others.get_many(keys) == {}
            assert others.bind(keys[0], "X").created, "another table, another geo"
            assert {next(watch).key for _ in keys} == {*keys}
            assert len(watch.position) == EU.groups
            assert {key for key, _ in client.scan(prefix=f"{node}-")} == {*keys}
            assert client.get_many(keys, linearizable=True).keys() == {*keys}
            assert client.create(UNIT, prefix="new:")[1].created


def test_no_disk_outside_holds_a_row(cluster: LocalCluster) -> None:
    with _client(cluster, "d") as client:
        client.bind("somewhere", UNIT)
    held = {node: [g.group for g in cluster.status(node).groups] for node in "abcd"}
    assert all({2, 3} <= {*held[node]} for node in "abc") and not {2, 3} & {*held["d"]}
    until(
        lambda: [g.leader_region for g in cluster.status("a").groups if g.group >= 2] == ["b"] * 2
    )
    assert [_on_disk(cluster, node) for node in "abcd"] == [True, True, True, False]


def test_list_and_what_is_refused(cluster: LocalCluster) -> None:
    default, eu = ask(cluster, "geo", "list")
    assert (default["geo"], default["groups"], default["regions"]) == ("", [0, 1], [*"abcd"])
    assert (eu["groups"], eu["held_in"], eu["tables"]) == ([2, 3], [*"abc"], ["eu.*"])
    shown = run(cluster, "geo", "list")
    assert "(default)" in shown.stdout and "eu.*" in shown.stdout
    assert ask(cluster, "drain", "d")[-1]["done"]
    status = run(cluster, "status", regions="ad").stdout
    assert "drained" in status and "up, not asked" in status and "under way" not in status
    members = run(cluster, "member", "list").stdout
    assert "(default)" in members and "eu " in members
    gone = run(cluster, "member", "remove", "b")
    assert gone.status == 1 and "geo eu would have 2 regions with a vote (a, c)" in gone.stderr
    wrong = run(cluster, "geo", "regions", "eu", "a,b,z")
    assert wrong.status == 1 and "no node in region 'z'" in wrong.stderr
    other = replace(cluster.config, geos=(replace(EU, geo=replace(EU.geo, tables=("eu.room",))),))
    with pytest.raises(ConfigError, match=r"table 'eu.session' is in geo 'eu' by the topology"):
        begin(other, "a")


@pytest.mark.slow
def test_a_backup_is_restored_into_other_geos(cluster: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "all"
    with _client(cluster, "a") as client:
        for number in range(60):
            client.bind(f"backed-up:{number}", UNIT)
        wanted = dict(client.scan())
    taken = told(command("backup", file, "--config", cluster.config_path, "--json"))
    geos = (
        GeoConfig(Geo("west", ("p", "q", "r"), ("im.session",)), groups=1),
        GeoConfig(Geo("east", ("r", "s", "t"), ("eu.session",)), groups=3),
    )
    with LocalCluster(
        ("p", "q", "r", "s", "t"), tables=TABLES, groups=1, replicas=3, geos=geos
    ) as new:
        with _client(new, "t") as client:
            # In a group that the first nodes to be asked do not hold.
            client.bind("not empty", "U")
            refused = command("restore", file, "--config", new.config_path)
            assert (
                refused.returncode == 1 and "'not empty' of 'eu.session' is bound" in refused.stderr
            )
            client.unbind("not empty", version=1)
        restored = told(command("restore", file, "--config", new.config_path, "--json"))
        assert restored["imported"] == taken["rows"]
        with _client(new, "p") as client:
            found = dict(client.scan())
        assert {key: b.unit for key, b in found.items()} == {k: b.unit for k, b in wanted.items()}
        assert [_on_disk(new, node) for node in "pqrst"] == [False, False, True, True, True]
        checked = command("check", "--config", new.config_path)
        assert checked.returncode == 0, checked


@pytest.mark.slow
def test_a_geo_moves_to_another_region_while_it_serves(cluster: LocalCluster) -> None:
    """And whoever it leaves discards its replicas."""
    with _client(cluster, "a") as client, joiner(cluster, "e") as new:
        new.start()
        client.bind("before", UNIT)
        added = ask(cluster, "member", "add", *new.options)
        assert added[-1]["done"]
        (*_, eu) = ask(cluster, "geo", "list")
        assert eu["held_in"] == [*"abc"]
        moved = ask(cluster, "geo", "regions", "eu", "b,c,e")
        assert moved[-1]["done"]
        (*_, eu) = ask(cluster, "geo", "list")
        assert (eu["regions"], eu["held_in"], eu["waits_for"]) == ([*"bce"], [*"bce"], {})
        assert client.bind("after", UNIT).created
        assert client.get("before", linearizable=True) is not None
        until(lambda: not {2, 3} & {g.group for g in cluster.status("a").groups})
        # The file is older than that, and no reason to refuse it.
        cluster.terminate("a")
        cluster.start_node("a")
        cluster.wait_ready()
