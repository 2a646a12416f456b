"""The consoles of a cluster with TLS: the certificate says who asks, and the gate what they may.

What is refused and what is done is audited in the very words of the RPC that it is.
"""

import json
import os
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from globaltable.client import SyncGlobalTable, TlsConfig
from globaltable.server.config_file import render
from globaltable.server.security import Allowance, Permission, Right, Security
from globaltable.testing import LocalCluster
from tests.console.asking import Asking

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TABLE: Final = "im.session"
SECURITY: Final = Security(
    permissions=(
        Permission(("web", "gone"), frozenset((Right.READ, Right.BIND)), (TABLE,)),
        Permission(("op",), frozenset((Right.ADMIN,))),
    ),
    allowances={"nobody": Allowance(calls=1)},
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(tables=(TABLE, "doc"), secure=SECURITY, console=True) as running:
        yield running


def _as(cluster: LocalCluster, client: str, node: str = "a") -> Asking:
    return Asking(cluster.consoles[node], cluster.tls(client))


def _audited(cluster: LocalCluster, node: str, count: int) -> list[dict[str, Any]]:
    """Entries of ChangeTopology, once there are so many: they are written behind the answers."""
    deadline = time.monotonic() + 5.0
    while True:
        lines = [
            json.loads(line)
            for path in sorted((cluster.data_dir(node) / "audit").iterdir())
            for line in path.read_text().splitlines()
        ]
        found = [one for one in lines if one["act"] == "ChangeTopology"]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)


def test_who_may_read_looks_and_looks_up_and_may_not_act(cluster: LocalCluster) -> None:
    web = _as(cluster, "web")
    shown = web.get("api/snapshot")
    assert shown.status == 200
    assert shown.body["you"] == {"name": "web", "may_admin": False, "tables": [TABLE]}
    assert not any(node["silent"] for node in shown.body["nodes"]), "nodes answer a node"
    with SyncGlobalTable.connect(
        cluster.addresses.values(), table=TABLE, timeout=20.0, tls=cluster.tls("web")
    ) as sessions:
        sessions.bind("k", "A")
    found = web.get("api/binding", table=TABLE, key="k", linearizable="1")
    assert found.body["binding"]["unit"] == "A"
    other = web.get("api/binding", table="doc", key="k")
    assert (other.status, "no right to read table 'doc'" in other.body["error"]) == (403, True)
    refused = web.act("api/drain", where="b", undo=False)
    assert (refused.status, "no right to admin" in refused.body["error"]) == (403, True)
    (entry, *_) = _audited(cluster, "a", 1)
    assert (entry["who"], entry["outcome"]) == ("client web", "PERMISSION_DENIED")
    assert entry["from"].startswith("ipv4:127.0.0.1:")


def test_an_admin_acts_and_is_audited_and_reads_no_table(cluster: LocalCluster) -> None:
    op = _as(cluster, "op", "b")
    assert op.get("api/snapshot").body["you"] == {"name": "op", "may_admin": True, "tables": []}
    assert op.get("api/binding", table=TABLE, key="k").status == 403
    done = op.act("api/drain", where="c", undo=False)
    assert done.status == 200
    assert op.act("api/drain", where="c", undo=True).status == 200
    first, second = _audited(cluster, "b", 2)
    assert (first["who"], first["outcome"]) == ("client op", "OK")
    assert first["asked"] == {"drain": {"where": "c"}}
    assert first["answer"] == {"topology_version": done.body["topology_version"]}
    assert second["asked"] == {"drain": {"where": "c", "undo": True}}


def test_a_watch_takes_the_right_to_the_table(cluster: LocalCluster) -> None:
    with _as(cluster, "op").events(table=TABLE) as events:
        told = next(told for name, told in events if name == "watch" and told["error"])
    assert "no right to read table" in told["error"]
    with _as(cluster, "web").events(table=TABLE) as events:
        told = next(told for name, told in events if name == "watch")
        assert told["error"] == ""


def test_who_is_permitted_nothing_sees_nothing(cluster: LocalCluster) -> None:
    nobody = _as(cluster, "nobody")
    told = nobody.get("api/snapshot")
    assert (told.status, "no permission names it" in told.body["error"]) == (403, True)
    with nobody.events() as events:
        name, refused = next(events)
    assert (name, "no permission names it" in refused["error"]) == ("refused", True)


def test_without_a_clients_certificate_nothing_is_told(cluster: LocalCluster) -> None:
    tls = cluster.tls("web")
    assert tls is not None
    context = ssl.create_default_context(cafile=str(tls.ca))
    asking = Asking(cluster.consoles["a"], tls)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        _without(asking, context).get("api/snapshot")
    directory = Path(tls.cert).parent
    node = TlsConfig(tls.ca, directory / "node-b.pem", directory / "node-b-key.pem")
    told = Asking(cluster.consoles["a"], node).get("api/snapshot")
    assert (told.status, "a node is no client" in told.body["error"]) == (403, True)


def _without(asking: Asking, context: ssl.SSLContext) -> Asking:
    asking._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    return asking


def test_in_the_clear_the_port_says_nothing(cluster: LocalCluster) -> None:
    clear = Asking(cluster.consoles["a"].replace("https", "http"))
    with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
        clear.get("api/snapshot")


def test_who_is_revoked_is_out_with_the_stream_that_is_there(cluster: LocalCluster) -> None:
    """Before the next look, and though it asks for nothing."""
    gone = _as(cluster, "gone")
    with gone.events() as events:
        assert next(name for name, _ in events) == "course"
        cluster.revoke("globaltable://local/client/gone")
        try:
            rest = [name for name, _ in events]
        except OSError:
            rest = []
        assert set(rest) <= {"view", "refused"}, "it has ended"
    told = gone.get("api/snapshot")
    assert (told.status, "were revoked" in told.body["error"]) == (403, True)
    cluster.revoke()


def test_a_stream_ends_with_the_permission_to_look(cluster: LocalCluster) -> None:
    """SIGHUP has the file read again: who is permitted nothing by now sees nothing more."""
    with _as(cluster, "web", "c").events() as events:
        assert next(name for name, _ in events) == "course"
        security = cluster.config.security
        fewer = tuple(one for one in security.permissions if "web" not in one.clients)
        config = replace(cluster.config, security=replace(security, permissions=fewer))
        cluster.config_path.write_text(render(config))
        os.kill(cluster.pid("c"), signal.SIGHUP)
        refused = next(told for name, told in events if name == "refused")
    assert "no permission names it" in refused["error"]
