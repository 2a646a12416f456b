"""One region node as a process: what the driver of the core is wired to, and its life.

Turns begin and complete on the event loop's thread (`driver`); they are persisted on a thread of
their own (`persister`), and while they are, replicas that do not wait for it go on.

Invariants: no frame is sent and no future resolved before its turn is durable; a disk error stops
the process, for a node that cannot persist must not go on as if it could.
"""

import asyncio
import gc
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from globaltable import limits
from globaltable.errors import StorageError
from globaltable.group import ReplicaLimits
from globaltable.raft.adaptor import Timing
from globaltable.server.admin import ADMIN_SERVICE_NAME, AdminService
from globaltable.server.backend import NodeBackend
from globaltable.server.config import Config
from globaltable.server.core import NodeCore, ReplicaFailure, Turn
from globaltable.server.driver import Driver, tell
from globaltable.server.logs import configure_logs
from globaltable.server.pacing import Pace
from globaltable.server.peers import PeerLinks
from globaltable.server.persister import Persister
from globaltable.server.service import GlobalTableService
from globaltable.server.watches import Watches
from globaltable.server.worker import TableWorker
from globaltable.store import identity
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.v1 import admin_pb2_grpc
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

SERVICE_NAME: Final = "globaltable.v1.GlobalTableService"
TRANSFER_SHARE: Final = 0.25
"""Of the time of the table's thread, what goes into snapshots for and of others."""

_HEALTH_PERIOD_S: Final = 0.25

log = structlog.get_logger(__name__)


class Node:
    """A running node. `start`, then `wait_failed` or `stop`."""

    def __init__(self, config: Config, name: str) -> None:
        self._config = config
        self._own = config.node(name)
        self._name = name
        topology = config.topology()
        self._topology = topology
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        directory = self._own.data_dir
        self._lock = identity.claim(
            directory,
            cluster=config.fence,
            node=self._name,
            groups=config.groups,
            slots=config.slots,
        )
        self._log_store = LmdbLogStore(directory / "log")
        self._table_store = LmdbTableStore(
            directory / "table", chunk_bytes=config.limits.snapshot_chunk_bytes
        )
        timeouts = config.timeouts
        rng = random.SystemRandom()
        self._core = NodeCore(
            topology=topology,
            node=self._name,
            log=self._log_store,
            table=self._table_store,
            timing=Timing(timeouts.heartbeat_s, timeouts.election_min_s, timeouts.election_max_s),
            limits=ReplicaLimits(
                pending_ops=config.limits.pending_ops_per_group,
                log_entries=config.limits.log_entries_per_group,
                log_bytes=config.limits.log_bytes_per_group,
            ),
            flush_rows=config.limits.flush_ops,
            flush_interval_s=timeouts.flush_interval_s,
            rng=random.Random(rng.getrandbits(256)),
            now=self._loop.time(),
        )
        others = [other for other in config.nodes if other.name != self._name]
        injected = config.injected_latency
        self._links = PeerLinks(
            cluster=config.fence,
            node=self._name,
            incarnation=rng.getrandbits(62),
            plan=topology.plan_digest,
            listen=(self._own.peer.host, self._own.peer.port),
            peers={other.name: (other.peer.host, other.peer.port) for other in others},
            on_payload=self._on_payload,
            on_up=lambda peer: self._on_link(peer, True),
            on_down=lambda peer: self._on_link(peer, False),
            one_way_delay_s={
                other.name: injected.one_way_s(self._own.region, other.region) if injected else 0.0
                for other in others
            },
            buffer_bytes_max=config.limits.peer_buffer_bytes,
            reconnect_min_s=timeouts.reconnect_min_s,
            reconnect_max_s=timeouts.reconnect_max_s,
            random=random.Random(rng.getrandbits(64)),
        )
        watches = Watches(self._core.serving)
        self._driver = Driver(
            core=self._core,
            clock=self._loop,
            send=self._links.send,
            watches=watches,
            on_out_of_service=self._out_of_service,
            on_failure=self._fail,
        )
        self._backend = NodeBackend(
            config, self._name, self._core, self._driver, watches, self._links
        )
        self._persister = Persister(
            store=self._log_store,
            call_soon=self._loop.call_soon_threadsafe,
            on_durable=self._persisted,
            on_failure=self._fail,
        )
        self._worker = TableWorker(
            core=self._core,
            store=self._table_store,
            executor=ThreadPoolExecutor(1, thread_name_prefix="table"),
            call_soon=self._loop.call_soon_threadsafe,
            on_failure=self._fail,
            wake=self._driver.wake,
            pace=Pace(TRANSFER_SHARE, time.monotonic),
            call_later=self._loop.call_later,
        )
        self._driver.attach(self._persister, self._worker)
        self._server: grpc.aio.Server | None = None
        self._service = GlobalTableService(self._backend)
        self._admin = AdminService(
            cluster_id=config.cluster_id,
            core=self._core,
            backend=self._backend,
            worker=self._worker,
            store=self._table_store,
        )
        self._health = HealthServicer()
        self._health_task: asyncio.Task[None] | None = None

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen for peers and clients. Raises `StorageError` or `OSError` if it cannot."""
        for failure in self._core.failures.items():
            log.error("replica out of service", group=failure[0], reason=failure[1])
        self._core.new_failures.clear()
        await self._links.start()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
            ]
        )
        pb_grpc.add_GlobalTableServiceServicer_to_server(self._service, self._server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, ADMIN_SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        address = str(self._own.client)
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StorageError(
                f"client address {address} of node {self._name} cannot be listened on; "
                "is another process using it?"
            ) from error
        await self._server.start()
        self._worker.sweep()
        self._health_task = asyncio.create_task(self._watch_health())
        self._driver.wake()
        log.info(
            "node started",
            cluster=self._config.cluster,
            node=self._name,
            client=address,
            peer=str(self._own.peer),
            groups=len(self._core.replicas),
            data=str(self._own.data_dir),
            pid=os.getpid(),
        )

    async def wait_failed(self) -> None:
        """Return never; raise what made it impossible to go on."""
        await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Hand leadership over, finish what is under way, flush, and close."""
        drain_s = self._config.timeouts.drain_s
        log.info("node stopping", node=self._name, drain_s=drain_s)
        if self._health_task is not None:
            self._health_task.cancel()
        await self._health.enter_graceful_shutdown()
        deadline = self._loop.time() + drain_s
        if not self._failed.done():
            self._core.drain()
            self._driver.wake()
            # No longer than an election takes: if all nodes stop at once there is no successor.
            handed_over = min(deadline, self._loop.time() + self._config.timeouts.election_max_s)
            while self._leads and self._has_peers and self._loop.time() < handed_over:
                await asyncio.sleep(0.01)
        if self._failed.done():
            # What is under way will not end; nobody need wait for it.
            tell(self._core.stop())
        self._service.drain()
        self._admin.drain()
        if self._server is not None:
            await self._server.stop(grace=max(0.1, deadline - self._loop.time()))
        self._driver.stop()
        while self._persister.turns and not self._failed.done():
            await asyncio.sleep(0.005)
        await self._links.close()
        if not self._failed.done():
            await self._flush()
        tell(self._core.stop())
        self._worker.close()
        self._persister.close()
        self._table_store.close()
        self._log_store.close()
        os.close(self._lock)
        log.info("node stopped", node=self._name)

    @property
    def _leads(self) -> bool:
        return any(replica.is_leader for replica in self._core.replicas.values())

    @property
    def _has_peers(self) -> bool:
        return any(self._links.connected(node.name) for node in self._topology.nodes)

    async def _flush(self) -> None:
        """So that the next start has little to replay."""
        await self._flush_done()
        flush = self._core.begin_flush(self._loop.time())
        if flush is not None:
            self._worker.submit(flush)
            await self._flush_done()

    async def _flush_done(self) -> None:
        while self._core.is_flushing and not self._failed.done():
            await asyncio.sleep(0.005)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            log.critical("node cannot go on", reason=f"{type(error).__name__}: {error}")
            self._driver.stop()
            self._failed.set_exception(error)

    async def _watch_health(self) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        told: int | None = None
        while True:
            replicas = self._core.replicas.values()
            well = not self._core.failures and all(
                r.guard.leader is not None and not r.rebuilding for r in replicas
            )
            status = serving if well else not_serving
            if status != told:
                told = status
                await self._health.set("", status)
                await self._health.set(SERVICE_NAME, status)
                log.info("health", serving=well)
            await asyncio.sleep(_HEALTH_PERIOD_S)

    # --- inputs ----------------------------------------------------------------------------------

    def _persisted(self, turns: Sequence[Turn]) -> None:
        if not self._failed.done():
            self._driver.persisted(turns)

    def _on_payload(self, peer: str, payload: bytes) -> None:
        try:
            self._core.receive(peer, payload)
        finally:
            # What came before a message that no peer may send has been taken all the same.
            self._driver.wake()

    def _on_link(self, peer: str, up: bool) -> None:
        log.info("peer connected" if up else "peer disconnected", peer=peer)
        same_plan = not up or self._links.has_same_plan(peer)
        if not same_plan:
            log.warning(
                "peer has another plan of who leads which group: no leadership is handed to it by "
                "preference until both nodes read the same configuration",
                peer=peer,
            )
        self._core.set_connected(peer, up, same_plan=same_plan)
        self._driver.wake()

    def _out_of_service(self, failure: ReplicaFailure) -> None:
        log.error("replica out of service", group=failure.group, reason=failure.reason)


def run(config: Config, name: str) -> None:
    """Run a node until SIGTERM or SIGINT. Raises `ConfigError` or `StorageError` if it cannot."""
    configure_logs(config.log_level, config.log_format)
    config.node(name)
    # Threads that wake from a disk need the interpreter at once, not after 5 ms of a busy loop.
    sys.setswitchinterval(0.0005)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config, name))


async def _run(config: Config, name: str) -> None:
    node = Node(config, name)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await node.start()
    # What lives now lives for good: the collector need not walk it. Full collections are rare,
    # for what is made per op is freed by reference counts.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    failed = asyncio.create_task(node.wait_failed())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        await node.stop()
    if failed.done():
        failed.result()
    failed.cancel()
