"""A node as a process: from its configuration and signals to its end.

Responsible for what is the process's and not the node's: signals, how it is interrupted, and when
garbage is looked for.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

import uvloop

from globaltable.server.config import Config
from globaltable.server.logs import configure_logs
from globaltable.server.node import Node
from globaltable.server.starting import Start, begin, begin_joining
from globaltable.server.tls import Certificates, certificates_of


def run(
    config: Config,
    name: str,
    *,
    join: bool = False,
    reread: Callable[[], Config] | None = None,
) -> None:
    """Run a node until SIGTERM or SIGINT, or until it is removed. `join`: it was added to a cluster
    that exists, and founds nothing. `reread` is what SIGHUP has it go by. Raises `ConfigError` or
    `StorageError` if it cannot."""
    configure_logs(config.log_level, config.log_format)
    config.node(name)
    certificates = certificates_of(config, name)
    # Threads that wake from a disk need the interpreter at once, not after 5 ms of a busy loop.
    sys.setswitchinterval(0.0005)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config, name, join, certificates, reread))


async def _run(
    config: Config,
    name: str,
    join: bool,
    certificates: Certificates | None,
    reread: Callable[[], Config] | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    start = await _started(config, name, join, certificates, stopped)
    if start is None:
        return
    node = Node(config, name, start, certificates)
    if reread is not None:
        loop.add_signal_handler(signal.SIGHUP, node.reread, reread)
    await node.start()
    loop.add_signal_handler(signal.SIGUSR1, node.requests.toggle_lines)
    # What lives now lives for good: the collector need not walk it. Full collections are rare,
    # for what is made per op is freed by reference counts.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    failed = asyncio.create_task(node.wait_failed())
    removed = asyncio.create_task(node.wait_removed())
    try:
        await asyncio.wait({failed, stopped, removed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        removed.cancel()
        await node.stop()
    if failed.done():
        failed.result()
    failed.cancel()


async def _started(
    config: Config,
    name: str,
    join: bool,
    certificates: Certificates | None,
    stopped: "asyncio.Task[bool]",
) -> Start | None:
    """What the node starts from; None if it is told to stop while it waits to be added."""
    if not join:
        return begin(config, name)
    joining = asyncio.create_task(begin_joining(config, name, certificates))
    await asyncio.wait({joining, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not joining.done():
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        return None
    return joining.result()
