"""Promise: a node may listen elsewhere than it is reached, as in a container or behind NAT."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from globaltable.server.config import Address
from globaltable.testing import LocalCluster
from globaltable.testing.cluster import free_ports
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.long]


def test_clients_are_told_where_a_node_is_reached_and_served_where_it_listens(
    tmp_path: Path,
) -> None:
    """Links between the nodes: every cluster with `link_faults` listens apart."""
    cluster = LocalCluster(directory=tmp_path)
    listens = Address("127.0.0.1", free_ports(1)[0])
    first, *others = cluster.config.nodes
    apart = (replace(first, client_listen=listens), *others)
    cluster = LocalCluster(directory=tmp_path, nodes=apart)
    try:
        cluster.start("a")
        with grpc.insecure_channel(str(listens)) as channel:
            stub = pb_grpc.GlobalTableServiceStub(channel)
            told = stub.Topology(pb.TopologyRequest(), timeout=20, wait_for_ready=True)
        assert [node.address for node in told.nodes if node.name == "a"] == [str(first.client)]
    finally:
        cluster.stop()
