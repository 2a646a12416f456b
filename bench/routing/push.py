"""How soon clients learn that a route has moved: from the move's call to each client's message.

Three nodes with an injected round trip between regions, one router beside the first of them, and
clients that each hold one stream of their own to it and the same key. The session is moved from
another region, by whoever asks its node: so it takes a round trip until it is committed there, and
the router's replica hears of it by then or a little later. What is counted begins with the call.
All of it shares this machine's cores.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from globaltable.bench import machine
from globaltable.bench.routing.subscribers import Told, subscribe
from globaltable.client import SyncGlobalTable
from globaltable.errors import GlobalTableError
from globaltable.testing import LocalCluster
from globaltable.testing.cluster import free_ports
from globaltable.testing.tether import pass_fds, tied

SUMMARY: Final = "how soon clients of a router learn that a route has moved"
GOAL_MS: Final = 100.0
"""At p99, beyond the round trip between regions."""
_DIMENSION: Final = "chat"
_TABLE: Final = "routing.chat"
_KEY: Final = "pushed"
_PATIENCE_S: Final = 60.0
_CONFIG: Final = """
namespace = "bench"
endpoints = ["{endpoint}"]
[units.A]
region = "a"
[units.B]
region = "b"
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
[policies]
new = {{ unit = "A" }}
"""


class PushFailed(GlobalTableError):
    """The router did not serve, or clients were not told."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, default=1_000, help="that follow (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="they run in (%(default)s)")
    parser.add_argument("--moves", type=int, default=40, help="one after another (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between (%(default)s)")
    parser.add_argument(
        "--round-trip-ms", type=float, default=10.0, help="between regions (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(options: Namespace) -> int:
    before = machine.describe()
    print("  ".join(f"{name}: {value}" for name, value in before.items()))
    with (
        LocalCluster(
            tables=(_TABLE, "routing.meta"), round_trip_ms=options.round_trip_ms
        ) as cluster,
        _router(cluster) as (router, process),
        _clients(options, router) as pipes,
        SyncGlobalTable.connect([cluster.addresses["b"]], table=_TABLE, discover=False) as chats,
    ):
        version = chats.bind(_KEY, "A").version
        begun_s, done_s = {}, {}
        busy_s = _busy_s(process)
        for number in range(options.moves):
            time.sleep(options.pause)
            begun_s[version + 1] = time.monotonic()
            version = chats.move(_KEY, to="BA"[number % 2], version=version).version
            done_s[version] = time.monotonic()
        time.sleep(max(1.0, options.pause))
        busy_s = _busy_s(process) - busy_s
        told: list[Told] = []
        for pipe in pipes:
            pipe.send("end")
            told += pipe.recv()
    moves_ms = sorted((done_s[one] - begun_s[one]) * 1_000 for one in done_s)
    after_ms = sorted((at_s - begun_s[one]) * 1_000 for one, at_s in told if one in begun_s)
    wanted = options.clients * options.moves
    if len(after_ms) < wanted:
        raise PushFailed(f"{len(after_ms)} of {wanted} changes arrived; the rest were overtaken")
    found = {
        "clients": options.clients,
        "moves": options.moves,
        "round_trip_ms": options.round_trip_ms,
        "move_p50_ms": _at(moves_ms, 0.5),
        "push_p50_ms": _at(after_ms, 0.5),
        "push_p99_ms": _at(after_ms, 0.99),
        "push_max_ms": after_ms[-1],
        "router_us_per_message": busy_s * 1e6 / wanted,
        "push_p99_beyond_round_trip_ms": _at(after_ms, 0.99) - options.round_trip_ms,
    }
    print(f"{'moved, told to whom moved it, p50':44}{found['move_p50_ms']:8.1f} ms")
    for name in ("p50", "p99", "max"):
        print(
            f"{f'told to {options.clients:,} clients, {name}':44}{found[f'push_{name}_ms']:8.1f} ms"
        )
    busy_us = found["router_us_per_message"]
    print(f"{'processor time of the router for each message':44}{busy_us:8.0f} µs")
    beyond_ms = found["push_p99_beyond_round_trip_ms"]
    verdict = "kept" if beyond_ms < GOAL_MS else "missed"
    print(f"{'p99 beyond the round trip':44}{beyond_ms:8.1f} ms, goal {GOAL_MS:.0f} ms: {verdict}")
    if options.json:
        text = json.dumps({"machine": before, "push": found}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _at(sorted_ms: list[float], share: float) -> float:
    return sorted_ms[min(len(sorted_ms) - 1, int(len(sorted_ms) * share))]


def _busy_s(process: int) -> float:
    """The processor time that a process has used (proc(5): utime and stime, in ticks)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _router(cluster: LocalCluster) -> Iterator[tuple[str, int]]:
    """A router process beside node a; where it listens, and its process id."""
    config = cluster.directory / "routing.toml"
    config.write_text(_CONFIG.format(endpoint=cluster.addresses["a"]), encoding="utf-8")
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "globaltable", "router", "-c", str(config), "-l", address]
    with (cluster.directory / "router.log").open("wb") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log, pass_fds=pass_fds())
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(_PATIENCE_S)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


@contextmanager
def _clients(options: Namespace, router: str) -> Iterator[list[Any]]:
    """Their processes' pipes, once all clients follow."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for number in range(options.processes):
            share = options.clients // options.processes
            share += number < options.clients % options.processes
            near, far = context.Pipe()
            process = context.Process(
                target=subscribe, args=(far, router, share, _DIMENSION, _KEY), daemon=True
            )
            process.start()
            pipes.append(near)
            processes.append(process)
        for pipe in pipes:
            if not pipe.poll(_PATIENCE_S) or pipe.recv() != "ready":
                raise PushFailed(f"clients do not follow after {_PATIENCE_S} s")
        yield pipes
    finally:
        for process in processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()
