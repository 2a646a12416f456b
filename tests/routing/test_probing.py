"""Probes: what answers and failures in a row mean, and a real unit that comes and goes."""

import asyncio

from globaltable.routing.config import Probes
from globaltable.routing.fleet import Unit
from globaltable.routing.service.probing import Standing, probe


def test_so_many_failures_in_a_row_and_one_answer_makes_it_well() -> None:
    standing = Standing(3)
    for answered in (False, False, True, False, False):
        standing.note("A", answered)
    assert standing.unhealthy == frozenset()
    standing.note("A", False)
    standing.note("B", False)
    assert standing.unhealthy == frozenset("A")
    standing.note("A", True)
    assert standing.unhealthy == frozenset()


async def test_a_unit_that_takes_no_connections_is_told_of_until_it_does() -> None:
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    units = [Unit("A", "x", address=f"127.0.0.1:{port}"), Unit("B", "x")]
    task = asyncio.create_task(probe(units, Probes(0.01, 1.0, 2), told.put_nowait))
    try:
        async with asyncio.timeout(10):
            assert await told.get() == frozenset()
            server.close()
            await server.wait_closed()
            while await told.get() != frozenset("A"):
                pass
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
            while await told.get() != frozenset():
                pass
    finally:
        task.cancel()
        server.close()
        await asyncio.gather(task, return_exceptions=True)
