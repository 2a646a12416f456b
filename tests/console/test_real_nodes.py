"""The consoles of a real cluster: what they tell is so, and what they do the cluster does."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.testing import LocalCluster
from tests.console.asking import Asking

pytestmark = pytest.mark.cluster

TABLE: Final = "im.session"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(tables=(TABLE,), console=True) as running:
        yield running


@pytest.fixture
def console(cluster: LocalCluster) -> Asking:
    return Asking(cluster.consoles["a"])


@pytest.fixture
def sessions(cluster: LocalCluster) -> Iterator[SyncGlobalTable]:
    with SyncGlobalTable.connect(
        cluster.addresses.values(), table=TABLE, timeout=20.0
    ) as connected:
        yield connected


def _until_led(cluster: LocalCluster, console: Asking, by: set[str]) -> dict[str, Any]:
    """A snapshot in which the groups' leaders are these nodes."""
    deadline = time.monotonic() + 20.0
    while True:
        shown: dict[str, Any] = console.get("api/snapshot").body
        if {group["leader"] for group in shown["groups"]} == by:
            return shown
        assert time.monotonic() < deadline, shown["groups"]
        time.sleep(0.1)


def test_a_snapshot_is_of_all_nodes_links_and_groups(
    cluster: LocalCluster, console: Asking
) -> None:
    told = console.get("api/snapshot")
    assert told.status == 200
    assert [node["name"] for node in told.body["nodes"]] == ["a", "b", "c"]
    assert not any(node["silent"] for node in told.body["nodes"])
    assert [node["console"] for node in told.body["nodes"]] == list(cluster.consoles.values())
    assert len(told.body["links"]) == 6
    assert len(told.body["groups"]) == 3
    assert told.body["you"] == {"name": None, "may_admin": True, "tables": [TABLE]}
    assert told.body["target_ms"] == 20.0


def test_a_binding_is_told_with_its_past_and_how_far_that_reaches(
    console: Asking, sessions: SyncGlobalTable
) -> None:
    sessions.bind("cid:1", "A")
    sessions.move("cid:1", to="B", version=1)
    sessions.unbind("cid:1", version=2)
    last = sessions.bind("cid:1", "C")
    told = console.get("api/binding", table=TABLE, key="cid:1", linearizable="1")
    assert told.status == 200
    binding, past = told.body["binding"], told.body["past"]
    assert binding == {"unit": "C", "version": last.version, "revision": last.revision}
    assert [(one["kind"], one["unit"]) for one in past["changes"]] == [
        ("bound", "A"),
        ("moved", "B"),
        ("unbound", "B"),
        ("bound", "C"),
    ]
    assert past["changes"][-1]["version"] == last.version
    assert (past["left_out"], past["why_none"]) == (0, "")
    assert past["since_revision"] < past["changes"][0]["revision"]
    none = console.get("api/binding", table=TABLE, key="never")
    assert (none.status, none.body["binding"], none.body["past"]["changes"]) == (200, None, [])


@pytest.mark.parametrize(
    ("asked", "status", "named"),
    [
        ({"table": "im.session", "key": ""}, 400, "key"),
        ({"table": "im.session", "key": "x" * 5_000}, 400, "key"),
        ({"table": "nowhere", "key": "k"}, 404, "nowhere"),
        ({}, 404, "''"),
    ],
)
def test_what_cannot_be_looked_up_is_refused_as_a_read_is(
    console: Asking, asked: dict[str, Any], status: int, named: str
) -> None:
    told = console.get("api/binding", **asked)
    assert told.status == status
    assert named in told.body["error"]


def test_a_stream_tells_the_course_the_cluster_and_changes_as_they_come(
    console: Asking, sessions: SyncGlobalTable
) -> None:
    with console.events(table=TABLE, prefix="room:") as events:
        seen: dict[str, Any] = {}
        for name, told in events:
            seen.setdefault(name, told)
            if name == "watch":
                sessions.bind("hall:1", "A")
                sessions.bind("room:1", "A")
            if name == "changes":
                break
    assert set(seen["course"]) == {"a", "b", "c"}
    assert seen["view"]["node"] == "a"
    assert seen["watch"] == {"table": TABLE, "prefix": "room:", "error": "", "elsewhere": []}
    (change,) = seen["changes"]["changes"]
    assert (change["kind"], change["key"], change["unit"]) == ("bound", "room:1", "A")


def test_a_watch_of_what_is_not_there_is_told_why_and_the_view_goes_on(console: Asking) -> None:
    with console.events(table="nowhere") as events:
        seen: dict[str, Any] = {}
        while not {"watch", "view"} <= set(seen):
            name, told = next(events)
            seen[name] = told
            if name == "watch" and not told["error"]:
                del seen[name]
    assert "nowhere" in seen["watch"]["error"]


@pytest.mark.long
def test_a_node_is_drained_and_led_back_and_a_leader_is_moved(
    cluster: LocalCluster, console: Asking
) -> None:
    _until_led(cluster, console, {"a", "b", "c"})
    drained = console.act("api/drain", where="b", undo=False)
    assert drained.status == 200
    shown = _until_led(cluster, console, {"a", "c"})
    assert [node["drained"] for node in shown["nodes"]] == [False, True, False]
    again = console.act("api/drain", where="b", undo=False)
    assert (again.status, again.body["error"]) == (409, "b is drained already")
    undone = console.act("api/drain", where="b", undo=True)
    assert undone.body["topology_version"] == drained.body["topology_version"] + 1
    shown = _until_led(cluster, console, {"a", "b", "c"})
    group = next(one for one in shown["groups"] if one["leader"] == "b")
    stale = console.act(
        "api/leader", group=group["number"], to="a", topology_version=shown["topology_version"] - 1
    )
    assert stale.status == 409
    assert "by now" in stale.body["error"]
    moved = console.act(
        "api/leader", group=group["number"], to="a", topology_version=shown["topology_version"]
    )
    assert moved.status == 200
    shown = _until_led(cluster, console, {"a", "c"})
    assert not any(node["drained"] for node in shown["nodes"])
    nobody = console.act("api/leader", group=0, to="z", topology_version=shown["topology_version"])
    assert (nobody.status, "'z'" in nobody.body["error"]) == (409, True)


def test_other_pages_and_other_names_are_refused(console: Asking) -> None:
    assert console.get("api/snapshot", headers={"host": "evil.example"}).status == 421
    assert console.get("api/snapshot", headers={"sec-fetch-site": "cross-site"}).status == 403
    assert console.get("api/drain").status == 405
