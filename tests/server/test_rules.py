"""Deny by default: an RPC that nobody has thought about is refused, and is found here first."""

import importlib
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from globaltable import v1
from globaltable.server.rules import RULES, Need, in_words
from globaltable.v1 import admin_pb2, globaltable_pb2

OF_OTHERS = {"routing_pb2", "unit_control_pb2"}
"""Served by routers and by units: no node serves them."""
OWN = [
    importlib.import_module(f"globaltable.v1.{path.stem}")
    for path in sorted(Path(v1.__path__[0]).glob("*_pb2.py"))
    if path.stem not in OF_OTHERS
]
SERVED = {
    f"/{service.full_name}/{method.name}"
    for file in (*OWN, health_pb2, reflection_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


NODES = {"GetHolding", "GetStatus", "NoteLevel", "TakeStep"}
"""Asked by who moves slots; that they are to move is in the topology, whose change is audited.
`NoteLevel` by who raises the level, which is audited too; `GetStatus` by consoles: it changes
nothing."""


def test_every_rpc_has_its_rule_and_no_rule_is_of_none() -> None:
    assert len(OWN) >= 2
    assert set(RULES) == SERVED


@pytest.mark.parametrize("method", sorted(m for m in SERVED if ".AdminService/" in m))
def test_the_admin_api_takes_the_right_to_it(method: str) -> None:
    """But for a look at who the nodes are and how far they are, as Status and Topology give; and
    what nodes ask each other, which is no administrator's."""
    needs = dict.fromkeys(NODES, Need.NODE) | {"GetTopology": Need.SOME_RIGHT}
    assert RULES[method].need is needs.get(method.rpartition("/")[2], Need.ADMIN)


def test_what_changes_the_cluster_or_carries_bindings_away_is_audited() -> None:
    audited = {method.rpartition("/")[2] for method, rule in RULES.items() if rule.is_audited}
    looks = {"Describe", "GetTopology", "Barrier", "FindRow"}
    admin = {method.rpartition("/")[2] for method in SERVED if ".AdminService/" in method}
    assert audited == admin - looks - NODES


def test_a_request_of_many_rows_is_noted_by_their_number() -> None:
    request = admin_pb2.ImportRequest(names=[b"x"] * 1_000, units=["A", "B"])
    assert in_words(request) == {"names": {"count": 1_000}, "units": ["A", "B"]}
    assert len(request.names) == 1_000


def test_reads_count_keys_and_scans_count_what_a_page_may_hold() -> None:
    read = RULES["/globaltable.v1.GlobalTableService/Read"]
    scan = RULES["/globaltable.v1.GlobalTableService/Scan"]
    assert read.ops(globaltable_pb2.ReadRequest(keys=["a", "b"])) == 2
    assert scan.ops(globaltable_pb2.ScanRequest(page_size=10)) == 10
    assert scan.ops(globaltable_pb2.ScanRequest()) == 1_000
