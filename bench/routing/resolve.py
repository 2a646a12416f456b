"""What it costs to resolve: from what is known in the same process, by rules, and from an agent.

A router whose cache holds the keys, and nobody else to ask: no GlobalTable runs. The agent is that
router, in the same process as its one caller, who asks over a unix socket for one key, or for a
hundred at a time, and waits for each answer.
"""

import asyncio
import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
import uvloop

from globaltable.bench import machine
from globaltable.bench.routing.three_units import THREE_UNITS
from globaltable.routing.client.router import Router
from globaltable.routing.config import parse
from globaltable.routing.route import Route
from globaltable.routing.service.serving import Serving
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc

SUMMARY: Final = "routes resolved a second, from the cache, by rules and from an agent"
_BATCH: Final = 1_000
_CONFIG: Final = (
    THREE_UNITS
    + """[dimensions.edge]
layer = "L0"
[dimensions.user]
layer = "L1"
rules = [{ by = "hash", weights = { A = 1, B = 1, C = 1 } }]
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
ttl_s = 86400
[policies]
new = { unit = "A" }
"""
)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line (%(default)s)")
    parser.add_argument("--routes", type=int, default=10_000, help="in the cache (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(options: Namespace) -> int:
    before = machine.describe()
    print("  ".join(f"{name}: {value}" for name, value in before.items()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measured(options))
    for what, per_second in found.items():
        print(f"{what:52}{per_second:12,.0f} a second")
    if options.json:
        text = json.dumps({"machine": before, "per_second": found}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


async def _measured(options: Namespace) -> dict[str, float]:
    config = parse(_CONFIG)
    keys = [f"cid:{number}" for number in range(options.routes)]
    found: dict[str, float] = {}
    with TemporaryDirectory() as directory:
        address = f"unix:{directory}/agent"
        serving = Serving(config, address)
        _fill(serving.router, keys)
        await serving.start()
        router = serving.router
        try:
            known = router.known
            for dimension, what in (
                ("chat", "L2, known in this process"),
                ("user", "L1, by hash over three units"),
                ("edge", "L0, the nearest of three units"),
            ):
                found[what] = _in_process(partial(known, dimension), keys, options.seconds)
            found["L2, known in this process, awaited"] = await _awaited(
                router, keys, options.seconds
            )
            async with grpc.aio.insecure_channel(address) as channel:
                stub = pb_grpc.RoutingServiceStub(channel)  # type: ignore[arg-type]
                for batch in (1, 100):
                    found[
                        f"from an agent in the same process, {batch} at a time"
                    ] = await _from_agent(stub, keys, batch, options.seconds)
        finally:
            await serving.stop()
    return found


def _fill(router: Router, keys: list[str]) -> None:
    expires_at_s = int(time.time()) + 86_000
    for key in keys:
        router.resolver.cache.put(Route("chat", key, "A", 1, expires_at_s))


def _in_process(resolve: Callable[[str], Any], keys: list[str], seconds: float) -> float:
    """In processor time: others at work on the machine do not count."""
    some = cycle(keys)
    count, begun_s = 0, time.process_time()
    while time.process_time() - begun_s < seconds:
        for _ in range(_BATCH):
            resolve(next(some))
        count += _BATCH
    return count / (time.process_time() - begun_s)


async def _awaited(router: Router, keys: list[str], seconds: float) -> float:
    some = cycle(keys)
    count, begun_s = 0, time.process_time()
    while time.process_time() - begun_s < seconds:
        for _ in range(_BATCH):
            await router.resolve("chat", next(some))
        count += _BATCH
    return count / (time.process_time() - begun_s)


async def _from_agent(stub: Any, keys: list[str], batch: int, seconds: float) -> float:
    some = cycle(keys)
    count, begun_s = 0, time.perf_counter()
    while time.perf_counter() - begun_s < seconds:
        queries = [pb.RouteQuery(dimension="chat", key=next(some)) for _ in range(batch)]
        response = await stub.Resolve(pb.ResolveRequest(queries=queries))
        assert len(response.results) == batch
        count += batch
    return count / (time.perf_counter() - begun_s)
