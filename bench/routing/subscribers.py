"""Clients of a router that wait for changes, in a process of their own: when each was told what."""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop

from globaltable.testing.tether import tie
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc

_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]

Told = tuple[int, float]
"""A version, and when a client was told of it, by the clock of `time.monotonic`."""


def subscribe(pipe: Connection, router: str, clients: int, dimension: str, key: str) -> None:
    """Follow `key` with so many clients, each over a connection of its own; say "ready" once all
    have begun; upon any word send what they were told, and end."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "it is started by `push`"
    tie(parent.sentinel)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_subscribe(pipe, router, clients, dimension, key))


async def _subscribe(pipe: Connection, router: str, clients: int, dimension: str, key: str) -> None:
    told: list[Told] = []
    hold = pb.WatchRoutesRequest(hold=[pb.HeldKey(dimension=dimension, key=key)])

    async def follow(stub: Any, begun: asyncio.Semaphore, all_begun: asyncio.Barrier) -> None:
        async with begun:
            stream = stub.WatchRoutes()
            await stream.write(hold)
            await stream.read()
        await all_begun.wait()
        while True:
            message = await stream.read()
            now_s = time.monotonic()
            if message is _END:
                return
            told.extend((one.route.version, now_s) for one in message.updates)

    begun = asyncio.Semaphore(50)
    all_begun = asyncio.Barrier(clients + 1)
    channels = [
        grpc.aio.insecure_channel(router, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(clients)
    ]
    tasks = [
        asyncio.create_task(
            follow(pb_grpc.RoutingServiceStub(channel), begun, all_begun)  # type: ignore[arg-type]
        )
        for channel in channels
    ]
    await all_begun.wait()
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    for task in tasks:
        if task.done():
            task.result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pipe.send(told)
    for channel in channels:
        await channel.close(None)
