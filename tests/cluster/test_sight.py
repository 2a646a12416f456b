"""What real nodes tell of themselves, well and ill: metrics, health and readiness."""

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from globaltable.client import GlobalTable
from globaltable.errors import NotBound
from globaltable.server.config import Address
from globaltable.server.metrics.declared import METRICS, Kind
from globaltable.testing.cluster import LocalCluster, free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TABLE = "im.session"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    made = LocalCluster(groups=2, tracing_exporter="console")
    ports = iter(free_ports(3))
    nodes = [replace(n, metrics=Address("127.0.0.1", next(ports))) for n in made.config.nodes]
    made.config = replace(made.config, nodes=tuple(nodes))
    with made:
        yield made


def _get(cluster: LocalCluster, node: str, path: str) -> tuple[int, str]:
    url = f"http://{cluster.config.node(node).metrics}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _samples(cluster: LocalCluster, node: str) -> Samples:
    status, text = _get(cluster, node, "/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _of(samples: Samples, name: str, **labels: str) -> float:
    return sum(
        value
        for (sample, has), value in samples.items()
        if sample == f"globaltable_{name}" and labels.items() <= dict(has).items()
    )


def _health(cluster: LocalCluster, node: str, name: str) -> int:
    with grpc.insecure_channel(cluster.addresses[node]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        status: int = answer.status
        return status


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


async def _bind(cluster: LocalCluster, node: str, keys: int) -> None:
    addresses = [cluster.addresses[node]]
    async with GlobalTable.connect(addresses, table=TABLE, discover=False) as table:
        await asyncio.gather(*(table.bind(f"{node}:{n}", "A") for n in range(keys)))
        await table.bind(f"{node}:0", "B")
        await table.get_many([f"{node}:{n}" for n in range(keys)])
        await table.get(f"{node}:0", linearizable=True)


def test_every_metric_that_is_declared_is_served_and_no_other(cluster: LocalCluster) -> None:
    _, text = _get(cluster, "b", "/metrics")
    served = {
        (family.name, family.type, family.documentation)
        for family in text_string_to_metric_families(text)
        if not family.name.startswith("process_")
    }
    assert served == {(metric.name, metric.kind.value, metric.help) for metric in METRICS}


def test_what_is_counted_is_what_was_asked(cluster: LocalCluster) -> None:
    before = _samples(cluster, "b")
    asyncio.run(_bind(cluster, "b", 300))
    after = _samples(cluster, "b")

    def grown(name: str, **labels: str) -> float:
        return _of(after, name, **labels) - _of(before, name, **labels)

    assert grown("ops_total", table=TABLE, outcome="applied") == 300
    assert grown("ops_total", table=TABLE, outcome="exists") == 1
    assert grown("ops_total") == 301
    assert grown("keys_read_total", table=TABLE, linearizable="false") == 300
    assert grown("keys_read_total", table=TABLE, linearizable="true") == 1
    assert grown("request_duration_seconds_count", method="WriteStream", table=TABLE) >= 2
    assert grown("request_duration_seconds_count", method="Read", table=TABLE) >= 2
    assert grown("commit_duration_seconds_count") >= 2
    for phase in ("queue", "replicate", "persist", "apply"):
        assert grown("commit_phase_duration_seconds_count", phase=phase) >= 1, phase
        assert 0 < grown("commit_phase_duration_seconds_sum", phase=phase) < 60, phase
    whole = grown("commit_duration_seconds_sum")
    assert grown("commit_phase_duration_seconds_sum", phase="replicate") <= whole


def test_over_all_nodes_each_op_and_request_of_a_table_is_counted_once(
    cluster: LocalCluster,
) -> None:
    """Where it entered, and not where it was led or replicated: sums by table are the callers'."""

    def total(name: str, **labels: str) -> float:
        return sum(_of(_samples(cluster, node), name, table=TABLE, **labels) for node in "abc")

    async def bind() -> None:
        for node in "abc":
            addresses = [cluster.addresses[node]]
            async with GlobalTable.connect(addresses, table=TABLE, discover=False) as table:
                await asyncio.gather(*(table.bind(f"once:{node}:{n}", "A") for n in range(60)))
                await table.get(f"once:{node}:0")

    ops, applied = total("ops_total"), total("ops_total", outcome="applied")
    reads = total("request_duration_seconds_count", method="Read")
    keys = total("keys_read_total")
    asyncio.run(bind())
    assert total("ops_total") - ops == total("ops_total", outcome="applied") - applied == 180
    assert total("request_duration_seconds_count", method="Read") - reads == 3
    assert total("keys_read_total") - keys == 3


def test_of_each_group_one_node_says_that_it_leads(cluster: LocalCluster) -> None:
    every = [_samples(cluster, node) for node in cluster.nodes]
    for group in ("0", "1"):
        assert sum(_of(samples, "group_is_leader", group=group) for samples in every) == 1
        assert all(_of(samples, "group_ready", group=group) == 1 for samples in every)
        assert len({_of(samples, "group_term", group=group) for samples in every}) == 1
    for samples in every:
        assert _of(samples, "peer_connected") == 2
        assert _of(samples, "disk_free_bytes") > 0
        assert _of(samples, "store_bytes", store="log") > 0


def test_labels_are_those_declared(cluster: LocalCluster) -> None:
    allowed = {
        series: {*metric.labels, "le"} if metric.kind is Kind.HISTOGRAM else {*metric.labels}
        for metric in METRICS
        for series in metric.series
    }
    for name, labels in _samples(cluster, "b"):
        if name.startswith("globaltable_"):
            assert {label for label, _ in labels} <= allowed[name], name


@pytest.mark.slow
def test_a_node_that_has_lost_its_majority_lives_and_is_not_ready(cluster: LocalCluster) -> None:
    assert _get(cluster, "a", "/readyz")[0] == 200
    for name in ("", "globaltable", "group/0", "group/1"):
        assert _health(cluster, "a", name) == SERVING
    for node in ("b", "c"):
        cluster.kill(node)
    assert _within(10, lambda: _get(cluster, "a", "/readyz")[0] == 503)
    ills = json.loads(_get(cluster, "a", "/readyz")[1])["ills"]
    assert set(ills) <= {"group/0", "group/1"}
    assert "no leader is heard from" in ills.values()
    assert _get(cluster, "a", "/healthz")[0] == 200
    assert _within(5, lambda: _health(cluster, "a", "globaltable") == NOT_SERVING)
    assert _within(5, lambda: _health(cluster, "a", "group/0") == NOT_SERVING)
    samples = _samples(cluster, "a")
    assert _of(samples, "ready") == 0
    assert _of(samples, "peer_connected") == 0
    for node in ("b", "c"):
        cluster.start(node)
    assert _within(15, lambda: _get(cluster, "a", "/readyz")[0] == 200)
    assert _within(5, lambda: _health(cluster, "a", "group/0") == SERVING)
    assert _of(_samples(cluster, "a"), "group_leader_changes_total") >= 1


async def _traced_bind(cluster: LocalCluster, exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    addresses = [cluster.addresses["b"]]
    async with GlobalTable.connect(addresses, table=TABLE, discover=False, tracing=True) as table:
        assert table._tracing is not None
        table._tracing._tracer = provider.get_tracer("test")
        await asyncio.gather(table.bind("traced:1", "A"), table.bind("traced:2", "A"))
        with pytest.raises(NotBound):
            await table.move("traced:absent", to="B", version=1)
        await table.get("traced:1")


def test_a_write_has_a_span_in_the_client_and_one_below_it_at_the_node(
    cluster: LocalCluster,
) -> None:
    exporter = InMemorySpanExporter()
    asyncio.run(_traced_bind(cluster, exporter))
    clients = {f"0x{span.context.span_id:016x}": span for span in exporter.get_finished_spans()}
    assert sorted(span.name for span in clients.values()) == [
        "globaltable bind",
        "globaltable bind",
        "globaltable move",
    ]
    assert cluster.terminate("b") == 0, "what is left is exported at the end"
    nodes = list(_spans(cluster.log_path("b").read_text()))
    assert {span["parent_id"] for span in nodes} == set(clients)
    for span in nodes:
        parent = clients[span["parent_id"]]
        assert span["context"]["trace_id"] == f"0x{parent.context.trace_id:032x}"
        assert parent.attributes is not None
        assert span["attributes"]["globaltable.key"] == parent.attributes["globaltable.key"]
        assert span["attributes"]["globaltable.leader"] in cluster.nodes
        assert [event["name"] for event in span["events"]] == ["sealed", "applied"]
        assert span["resource"]["attributes"]["service.instance.id"] == "b"
        sealed, applied = (event["timestamp"] for event in span["events"])
        assert span["start_time"] <= sealed <= applied <= span["end_time"]
    outcomes = sorted(span["attributes"]["globaltable.outcome"] for span in nodes)
    assert outcomes == ["applied", "applied", "not_bound"]


def _spans(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects that stand over several lines each, among log lines of one."""
    for found in re.findall(r"^\{\n.*?^\}$", text, re.M | re.S):
        yield json.loads(found)
