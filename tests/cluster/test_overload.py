"""Promise: what a full node refuses did not happen; the library asks again when it was told to, and
tells who has no more time for that that it did not happen."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from globaltable import limits
from globaltable.client import GlobalTable, SyncGlobalTable
from globaltable.client._attempts import read_detail
from globaltable.errors import Overloaded
from globaltable.server.config import Limits
from globaltable.testing import LocalCluster
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TABLE = "im.session"
CALLS, WATCHERS, PENDING = 4, 1, limits.WRITE_OPS_MAX
FREED_AFTER_S = 0.5


@pytest.fixture(scope="module")
def node() -> Iterator[LocalCluster]:
    bounds = Limits(calls=CALLS, watchers=WATCHERS, pending_ops_per_group=PENDING)
    with LocalCluster(groups=1, limits=bounds) as running:
        yield running


class Crowd:
    """All the calls that a node has room for, until it is let go."""

    def __init__(self, address: str) -> None:
        self._done = threading.Event()
        self._channel = grpc.insecure_channel(address)
        stub: Any = pb_grpc.GlobalTableServiceStub(self._channel)
        deadline = time.monotonic() + 10.0
        self._streams: list[Any] = []
        while not self._is_refused(stub):
            assert time.monotonic() < deadline, "the node takes ever more calls"
            self._streams.append(stub.WriteStream(self._nothing()))
            time.sleep(0.02)

    def _nothing(self) -> Iterator[pb.WriteStreamRequest]:
        self._done.wait(30.0)
        yield from ()

    def _is_refused(self, stub: Any) -> bool:
        try:
            stub.Status(pb.StatusRequest(), timeout=5.0)
        except grpc.RpcError as error:
            call: Any = error
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            detail = read_detail(call.trailing_metadata())
            assert detail is not None and detail.reason == pb.ErrorDetail.REASON_OVERLOADED
            assert 200 <= detail.retry_delay_ms <= 400
            return True
        return False

    def let_go(self) -> None:
        self._done.set()
        for stream in self._streams:
            stream.cancel()
        self._channel.close()


@contextlib.contextmanager
def crowded(cluster: LocalCluster, *, for_s: float = 60.0) -> Iterator[None]:
    """A node that has no room for calls, for so long or until the end."""
    crowd = Crowd(cluster.addresses["a"])
    timer = threading.Timer(for_s, crowd.let_go)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        crowd.let_go()
        cluster.wait_ready()


def _sync(cluster: LocalCluster, timeout: float = 10.0) -> SyncGlobalTable:
    own = [cluster.addresses["a"]]
    return SyncGlobalTable.connect(own, table=TABLE, timeout=timeout, discover=False)


def _asynchronous(cluster: LocalCluster, timeout: float = 10.0) -> GlobalTable:
    own = [cluster.addresses["a"]]
    return GlobalTable.connect(own, table=TABLE, timeout=timeout, discover=False)


def test_who_comes_when_there_is_no_room_is_told_that_nothing_happened(node: LocalCluster) -> None:
    with crowded(node), _sync(node, timeout=0.7) as client:
        for ask in (
            lambda: client.bind("full", "A"),
            lambda: client.create("A"),
            lambda: client.move("full", to="B", version=1),
            lambda: client.get("full"),
            lambda: client.get("full", linearizable=True),
            lambda: list(client.scan()),
            lambda: client.watch(key="full").start(),
        ):
            with pytest.raises(Overloaded, match="calls are under way at this node"):
                ask()
    with _sync(node) as client:
        assert client.get("full", linearizable=True) is None, "nothing happened"


async def test_nor_is_it_unknown_to_many_callers_of_one_loop(node: LocalCluster) -> None:
    """Whose requests follow each other on a stream that is refused amid them."""

    async def told(client: GlobalTable, key: str) -> type:
        try:
            await client.bind(key, "A")
        except Exception as error:
            return type(error)
        return type(None)

    with crowded(node):
        async with _asynchronous(node, timeout=1.5) as client:
            callers = []
            for number in range(200):
                callers.append(asyncio.ensure_future(told(client, f"many:{number}")))
                await asyncio.sleep(0.002)
            assert set(await asyncio.gather(*callers)) == {Overloaded}


async def test_once_there_is_room_what_was_refused_is_done(node: LocalCluster) -> None:
    with crowded(node, for_s=FREED_AFTER_S):
        async with _asynchronous(node) as client:
            bound, read = await asyncio.gather(client.bind("later", "A"), client.get("none"))
            assert bound.created and read is None
    with crowded(node, for_s=FREED_AFTER_S), _sync(node) as client:
        assert client.bind("later still", "A").created
        with client.watch(prefix="later") as watch:
            assert watch.position, "it has begun"


def test_another_node_is_asked_after_that_time_if_there_is_one(node: LocalCluster) -> None:
    everywhere = node.addresses.values()
    with (
        crowded(node),
        SyncGlobalTable.connect(everywhere, table=TABLE, timeout=10.0, discover=False) as client,
    ):
        assert client.bind("elsewhere", "A").created
        assert client.get("elsewhere", linearizable=True) is not None
        with client.watch(key="elsewhere") as watch:
            assert watch.position


def test_a_watch_beyond_the_bound_begins_when_another_ends(node: LocalCluster) -> None:
    with _sync(node) as client, _sync(node) as impatient:
        first = client.watch(key="watched")
        first.start()
        with pytest.raises(Overloaded, match="1 watchers are connected"):
            impatient.watch(key="watched", timeout=0.3).start()
        ended = threading.Timer(FREED_AFTER_S, first.close)
        ended.start()
        with impatient.watch(key="watched", timeout=10.0) as second:
            client.bind("watched", "A")
            assert next(iter(second)).unit == "A"
        ended.join()


async def test_what_a_full_queue_refuses_is_done_once_there_is_room(node: LocalCluster) -> None:
    """And who has no time for that is told that it did not happen."""
    for other in "bc":
        node.pause(other)
    try:
        async with (
            grpc.aio.insecure_channel(node.addresses["a"]) as channel,
            _asynchronous(node, timeout=60.0) as client,
        ):
            stub: Any = pb_grpc.GlobalTableServiceStub(channel)  # type: ignore[arg-type]
            filling = [
                asyncio.ensure_future(stub.Write(_writes(client_id), timeout=60.0))
                for client_id in (1, 2)
            ]
            done, _ = await asyncio.wait(filling, return_when=asyncio.FIRST_COMPLETED)
            (refused,) = (one.result() for one in done)
            assert {one.status for one in refused.outcomes} == {pb.OUTCOME_STATUS_OVERLOADED}
            assert refused.retry_delay_ms >= 50
            patient = [asyncio.ensure_future(client.bind(f"patient:{n}", "A")) for n in range(50)]
            with pytest.raises(Overloaded):
                await client.bind("impatient", "A", timeout=1.0)
            assert not any(one.done() for one in patient)
            for other in "bc":
                node.resume(other)
            assert all(binding.created for binding in await asyncio.gather(*patient))
            assert await client.get("impatient", linearizable=True) is None
            await asyncio.gather(*filling)
    finally:
        for other in "bc":
            node.resume(other)


def _writes(client_id: int) -> pb.WriteRequest:
    """As many ops as may wait."""
    ops = [
        pb.Op(kind=pb.OP_KIND_BIND, key=f"{client_id}:{number}", unit="A", sequence=number + 1)
        for number in range(PENDING)
    ]
    return pb.WriteRequest(table=TABLE, client_id=client_id, ops=ops)
