"""Promise: what watches over a node can ask whether it serves, with the node's own certificate."""

import pytest

from globaltable.cli.main import run
from globaltable.server.security import Security
from globaltable.testing import LocalCluster
from tests.cluster.growing import until

pytestmark = [pytest.mark.cluster, pytest.mark.long]


def _asked(cluster: LocalCluster, node: str, *before: str) -> int:
    return run([*before, "health", cluster.addresses[node]])


def test_a_node_that_serves_and_one_that_does_not(
    globaltable_cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    # A group may elect once more while a cluster is young, and then the node says so.
    until(lambda: _asked(globaltable_cluster, "a") == 0)
    assert capsys.readouterr().out.splitlines()[-1] == "SERVING"
    globaltable_cluster.kill("a")
    assert _asked(globaltable_cluster, "a") == 3
    told = capsys.readouterr()
    assert not told.out and "UNAVAILABLE" in told.err


@pytest.mark.slow
def test_it_shows_the_nodes_own_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    """As probes in a container do, where there is no other; no permission is needed."""
    with LocalCluster(secure=Security()) as cluster:
        files = cluster.config.security.tls
        assert files is not None
        own = files.of("a")
        shown = ["--ca", str(own.ca), "--cert", str(own.cert), "--key", str(own.key)]
        assert _asked(cluster, "a", *shown) == 0
        assert capsys.readouterr().out == "SERVING\n"
        assert _asked(cluster, "a") == 3, "in the clear nobody is answered"
