"""Crowds that do nothing: they are there, and the report says what they cost."""

import pytest

from globaltable.bench.activities.idle_watches import IdleWatches
from globaltable.bench.activities.registry import from_json, to_json
from globaltable.bench.crowd import connections
from globaltable.bench.report import idle as section
from globaltable.bench.report.terminal import WIDTH
from globaltable.bench.results import Measurement, Report
from globaltable.bench.scenarios import idle
from globaltable.testing import LocalCluster


def _measured(repeat: int, crowd: str, **figures: float) -> Measurement:
    case = {"crowd": crowd, "beside": idle.CONNECTIONS}
    if crowd != idle.NONE:
        case["count"] = 2_000  # type: ignore[assignment]
    return Measurement(idle.NAME, "globaltable", case, repeat, figures)


def test_ratios_are_taken_within_a_repeat_and_memory_from_the_first() -> None:
    measurements = (
        _measured(0, idle.NONE, binds_per_s=100.0, p50_ms=10.0, p99_ms=20.0),
        _measured(0, idle.CONNECTIONS, binds_per_s=90.0, p50_ms=11.0, p99_ms=30.0,
                  memory_kb_each=14.0, cpu_us_per_s_each=2.0),
        _measured(1, idle.NONE, binds_per_s=200.0, p50_ms=10.0, p99_ms=20.0),
        _measured(1, idle.CONNECTIONS, binds_per_s=180.0, p50_ms=11.0, p99_ms=30.0,
                  cpu_us_per_s_each=4.0),
    )  # fmt: skip
    report = Report({}, "", "", "injected", ("a",), {}, {}, measurements)
    (table,) = section.section(report).tables
    assert table.rows == (
        ("2,000 connections", "14.0 kB", "3.0 µs/s", "0.90 ×", "1.10 ×", "1.50 ×", "2"),
    )
    assert WIDTH > 60


def test_what_watchers_are_told_crosses_to_their_worker() -> None:
    activity = IdleWatches(7, prefixes=True, changes_per_s=0.5)
    assert from_json(to_json(activity)) == activity


@pytest.mark.cluster
@pytest.mark.long
def test_bare_connections_are_served_by_real_nodes_and_closed() -> None:
    with LocalCluster(groups=1) as cluster:
        with connections(list(cluster.addresses.values()), 30) as clients:
            assert len(clients) == 30
        assert all(client.fileno() < 0 for client in clients)
