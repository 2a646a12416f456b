"""The look at all nodes: each answers or is told of with the reason, none is waited for long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from globaltable.server.console import survey as module
from globaltable.server.console.survey import Survey
from globaltable.server.histogram import Histogram
from globaltable.topology import Node, Topology, spread
from globaltable.v1 import admin_pb2_grpc
from globaltable.v1 import globaltable_pb2 as pb


class _Answering(admin_pb2_grpc.AdminServiceServicer):
    """One that says that it is a node of that name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.asked = 0

    async def GetStatus(self, request: Any, context: Any) -> pb.StatusResponse:  # noqa: N802
        self.asked += 1
        work = pb.WorkStatus(ops=10 * self.asked, commit_bounds_s=[0.01], commit_counts=[0, 0])
        return pb.StatusResponse(node=self._name, uptime_s=float(self.asked), work=work)


@asynccontextmanager
async def _serving(answering: _Answering | None) -> AsyncIterator[str]:
    """A client port; without an answer one of a version that has none."""
    server = grpc.aio.server()
    if answering is not None:
        admin_pb2_grpc.add_AdminServiceServicer_to_server(answering, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _topology(*clients: str) -> Topology:
    nodes = [Node(name, name, f"{name}:1", at) for name, at in zip("abcd", clients, strict=False)]
    return spread("im", nodes, 2, 3, slots=16)


@asynccontextmanager
async def _surveying(topology: Topology) -> AsyncIterator[Survey]:
    one = Survey(
        node="a",
        status=lambda: pb.StatusResponse(node="a"),
        commit=Histogram(),
        topology=lambda: topology,
        certificates=None,
    )
    running = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await one.close()


async def test_each_node_answers_or_is_told_of_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as dumb:
        silent = f"127.0.0.1:{dumb.getsockname()[1]}"
        async with (
            _serving(_Answering("z")) as wrong,
            _serving(None) as old,
            _surveying(_topology("a:2", wrong, old, silent)) as one,
            asyncio.timeout(5.0),
        ):
            look = await one.next()
    assert set(look.statuses) == {"a"}
    assert look.silent["b"] == f"{wrong} is answered by node 'z'"
    assert look.silent["c"] == "is of a version that tells consoles nothing"
    assert look.silent["d"] in ("no answer within 0.5 s", f"cannot be reached at {silent}")


async def test_rates_are_of_the_time_between_two_looks_and_nobody_is_asked_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who looks is answered at once; when nobody has for a while, the others are let be."""
    monkeypatch.setattr(module, "PERIOD_S", 0.05)
    monkeypatch.setattr(module, "LOOKED_AT_FOR_S", 0.4)
    b = _Answering("b")
    async with _serving(b) as at, _surveying(_topology("a:2", at, at)) as one:
        await asyncio.sleep(0.2)
        assert b.asked == 0
        async with asyncio.timeout(5.0):
            first = await one.next()
            second = await one.next(first.number)
        assert first.paces == {}
        assert second.number > first.number
        assert second.paces["b"].ops == pytest.approx(10.0)
        await asyncio.sleep(0.8)
        asked = b.asked
        await asyncio.sleep(0.3)
        assert b.asked == asked
        async with asyncio.timeout(5.0):
            later = await one.next()
        assert later.number > second.number
        assert later.paces == {}, "what was long ago is no neighbour"
