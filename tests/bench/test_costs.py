"""What one of a thing costs is counted by the kernel, and shown with its unit."""

import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from globaltable.bench import costs
from globaltable.bench.sockets import (
    SEGMENT_HEADER_BYTES,
    Carried,
    ConnectionsChanged,
    Sent,
    carried,
)
from globaltable.bench.unit_costs import Cost


@contextmanager
def _connection() -> Iterator[tuple[int, socket.socket, socket.socket]]:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = server.getsockname()[1]
        caller = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        called = stack.enter_context(server.accept()[0])
        yield port, caller, called


def _settled(port: int, payload_bytes: int, before: Carried) -> Carried:
    """Once the last acknowledgements are in."""
    for _ in range(200):
        sent = carried([port]).since(before)
        if sent.payload_bytes >= payload_bytes:
            return sent
        time.sleep(0.01)
    raise AssertionError(f"not all of {payload_bytes} bytes are acknowledged")


def test_what_a_connection_carries_is_counted_both_ways_to_the_byte() -> None:
    with _connection() as (port, caller, called):
        before = carried([port])
        assert len(before.by_ends) == 2
        caller.sendall(b"x" * 1_000)
        called.recv(4_096)
        called.sendall(b"y" * 7)
        caller.recv(4_096)
        sent = _settled(port, 1_007, before)
        assert sent.payload_bytes == 1_007
        assert 2 <= sent.segments <= 8
        assert sent.wire_bytes == 1_007 + SEGMENT_HEADER_BYTES * sent.segments


def test_other_ports_are_not_counted() -> None:
    with _connection() as (port, _, _), _connection() as (other, _, _):
        assert {port} <= {end for ends in carried([port]).by_ends for end in ends}
        assert not any(other in ends for ends in carried([port]).by_ends)


def test_a_connection_that_is_gone_is_not_taken_for_one_that_carried_nothing() -> None:
    with _connection() as (port, _, _):
        before = carried([port])
    with pytest.raises(ConnectionsChanged, match=str(port)):
        Carried({}).since(before)
    with pytest.raises(ConnectionsChanged):
        Carried({(1, 2): Sent(5, 1)}).since(Carried({}))


def test_figures_are_shown_by_kind_with_a_column_for_each_case() -> None:
    text = io.StringIO()
    shown = [
        Cost("idle", "3 groups", {"nodes_cpu_share": 0.0312}),
        Cost("idle", "48 groups", {"nodes_cpu_share": 0.25, "cpu_ms_more": 1234.5}),
    ]
    costs.show(shown, Console(file=text, width=100))
    lines = text.getvalue().splitlines()
    assert any("3 groups" in line and "48 groups" in line for line in lines)
    assert any(line.split() == ["nodes_cpu_share", "0.0312", "0.25"] for line in lines)
    assert any(line.split() == ["cpu_ms_more", "1,234"] for line in lines)


def test_a_kind_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert costs.main(["bind"]) == 2
    assert "'bind' is none of binds, gets, disk, idle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "0"], "invalid time in seconds, from 1 on value: '0'"),
        (["--callers", "3,0"], "invalid list value: '3,0'"),
        (["--sessions", "many"], "invalid list value: 'many'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        costs.main(words)
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.long
def test_all_kinds_are_measured_on_real_nodes(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    words = ["--seconds", "1", "--callers", "6,60", "--sessions", "2000", "--groups", "3,12"]
    assert costs.main([*words, "--json", str(file)]) == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    assert "costs --seconds 1" in report["command"]
    by_kind: dict[str, list[dict[str, float]]] = {}
    for cost in report["costs"]:
        by_kind.setdefault(cost["what"], []).append(cost["figures"])
    assert {kind: len(found) for kind, found in by_kind.items()} == {
        "binds": 2,
        "gets": 3,
        "disk": 1,
        "idle": 2,
    }
    few, many = by_kind["binds"]
    assert few["failed"] == many["failed"] == 0
    assert few["ops_per_entry"] <= many["ops_per_entry"]
    assert few["peers_payload_bytes_per_bind"] > 50
    assert few["peers_wire_bytes_per_bind"] > few["peers_payload_bytes_per_bind"]
    assert 0 < many["nodes_cpu_s_per_1000"] < few["nodes_cpu_s_per_1000"]
    assert by_kind["disk"][0]["a_nodes_table_bytes_per_session"] > 100
    assert by_kind["idle"][1]["peers_payload_bytes_per_s"] > 0
