"""Promise: what a node holds for callers is bounded, and who comes beyond it is told at once."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from globaltable.server.config import Limits
from globaltable.testing import LocalCluster
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CALLS = 8


def test_calls_at_a_time_are_bounded_and_their_room_is_given_back() -> None:
    with (
        LocalCluster(limits=Limits(watchers=4, calls=CALLS)) as cluster,
        grpc.insecure_channel(cluster.addresses["a"]) as channel,
    ):
        stub: Any = pb_grpc.GlobalTableServiceStub(channel)
        done = threading.Event()

        def nothing() -> Iterator[pb.WriteStreamRequest]:
            done.wait(30)
            yield from ()

        streams = [stub.WriteStream(nothing()) for _ in range(3 * CALLS)]
        try:
            deadline = time.monotonic() + 10
            while sum(stream.is_active() for stream in streams) > CALLS:
                assert time.monotonic() < deadline, "more calls are held than there is room for"
                time.sleep(0.02)
            refused = [stream.code() for stream in streams if not stream.is_active()]
            assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            with pytest.raises(grpc.RpcError) as told:
                stub.Status(pb.StatusRequest(), timeout=5)
            assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        finally:
            done.set()
            for stream in streams:
                stream.cancel()
        cluster.wait_ready()
