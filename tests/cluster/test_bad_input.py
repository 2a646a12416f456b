"""What no correct caller or peer sends gets a typed error, and changes nothing."""

import random
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from globaltable import limits
from globaltable.errors import InvalidArgument
from globaltable.server.config_file import render
from globaltable.testing import LocalCluster
from globaltable.testing.cluster import free_ports
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc
from tests.cluster.sessions import TABLE, connect, race, wait_equal

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(groups=2) as running:
        yield running


def _op(**fields: object) -> pb.Op:
    whole: dict[str, object] = {
        "kind": pb.OP_KIND_BIND,
        "key": "k",
        "unit": "A",
        "sequence": 1,
        **fields,
    }
    return pb.Op(**whole)  # type: ignore[arg-type]


LONG_KEY = "k" * (limits.KEY_BYTES_MAX + 1)
LONG_UNIT = "u" * (limits.UNIT_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "op",
    [
        _op(key=""),
        _op(key=LONG_KEY),
        _op(unit=""),
        _op(unit=LONG_UNIT),
        _op(kind=pb.OP_KIND_UNSPECIFIED),
        _op(kind=pb.OP_KIND_MOVE, version=0),
        _op(kind=pb.OP_KIND_UNBIND, version=2**63),
    ],
    ids=["no key", "long key", "no unit", "long unit", "no kind", "version 0", "version 2^63"],
)
def test_a_bad_op_is_refused_alone(cluster: LocalCluster, op: pb.Op) -> None:
    """By the node itself: the client library would not send it."""
    before = wait_equal(cluster)
    with grpc.insecure_channel(cluster.addresses["a"]) as channel:
        stub = pb_grpc.GlobalTableServiceStub(channel)
        answer = stub.Write(pb.WriteRequest(table=TABLE, client_id=1, ops=[op]), timeout=5)
    (outcome,) = answer.outcomes
    assert outcome.status == pb.OUTCOME_STATUS_INVALID_ARGUMENT
    assert outcome.detail
    assert wait_equal(cluster) == before


def test_an_unknown_table_and_a_batch_over_the_limit_are_refused_whole(
    cluster: LocalCluster,
) -> None:
    before = wait_equal(cluster)
    too_many = [_op(key=f"k{n}", sequence=n + 1) for n in range(limits.WRITE_OPS_MAX + 1)]
    with grpc.insecure_channel(cluster.addresses["a"]) as channel:
        stub = pb_grpc.GlobalTableServiceStub(channel)
        for request, code in (
            (pb.WriteRequest(table="no.such", client_id=1, ops=[_op()]), "NOT_FOUND"),
            (pb.WriteRequest(table=TABLE, client_id=1, ops=too_many), "INVALID_ARGUMENT"),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                stub.Write(request, timeout=5)
            assert refused.value.code().name == code
    assert wait_equal(cluster) == before


@pytest.mark.parametrize("version", [-1, 0, True, 2**63, "1"])
def test_a_bad_version_is_refused_before_anything_is_sent(
    cluster: LocalCluster, version: int
) -> None:
    with connect(cluster) as client, pytest.raises(InvalidArgument):
        client.move("k", to="B", version=version)


def test_garbage_on_any_port_hurts_nobody_else(cluster: LocalCluster) -> None:
    rng = random.Random(7)
    for region in cluster.config.nodes:
        for address in (region.peer, region.client):
            for size in (1, 3, 64, 5_000):
                with socket.create_connection(
                    (address.host, address.port), timeout=5
                ) as connection:
                    connection.sendall(rng.randbytes(size))
    told = race(cluster, [f"after garbage {number}" for number in range(50)])
    assert all(len({binding.unit for binding in bindings}) == 1 for bindings in told.values())
    assert all(cluster.is_running(region) for region in cluster.regions)


def test_a_peer_of_another_cluster_is_refused_and_told_why(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """A node of another cluster that has our addresses by mistake."""
    config = cluster.config
    peer, client = free_ports(2)
    stranger = replace(
        config.nodes[0],
        peer=replace(config.nodes[0].peer, port=peer),
        client=replace(config.nodes[0].client, port=client),
        data_dir=tmp_path / "stranger",
    )
    with LocalCluster(directory=tmp_path / "other") as other:
        other.kill("a")
        path = tmp_path / "mistake.toml"
        path.write_text(
            render(replace(config, cluster="mistaken", nodes=(stranger, *config.nodes[1:])))
        )
        other._config_path = path
        other.start("a")
        deadline = time.monotonic() + 10
        while "mistaken" not in (text := cluster.log_path("b").read_text()):
            assert time.monotonic() < deadline, text[-500:]
            time.sleep(0.05)
        other.kill("a")
    told = race(cluster, [f"after the stranger {number}" for number in range(50)])
    assert all(len({binding.unit for binding in bindings}) == 1 for bindings in told.values())
