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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from globaltable import limits
from globaltable.errors import ConfigError, ProtocolError, StorageError
from globaltable.group import Replica
from globaltable.members import Members
from globaltable.model import TOPOLOGY_NAME
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.admin import ADMIN_SERVICE_NAME, AdminService
from globaltable.server.backend import NodeBackend
from globaltable.server.call_room import REFUSALS_PER_CALL, CallRoom
from globaltable.server.config import Address, Config
from globaltable.server.core import NodeCore
from globaltable.server.directories import Directories, Shown
from globaltable.server.driver import Driver, tell
from globaltable.server.effects import ReplicaFailure, Turn
from globaltable.server.gate import Gate
from globaltable.server.health import Health
from globaltable.server.listener import Listener
from globaltable.server.live_topology import LiveTopology
from globaltable.server.logs import configure_logs
from globaltable.server.measures import Measures
from globaltable.server.metrics.collector import NodeCollector
from globaltable.server.pacing import Pace
from globaltable.server.peers import Peer, PeerLinks
from globaltable.server.persister import Persister
from globaltable.server.requests import Requests
from globaltable.server.service import GlobalTableService
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.slot_groups import SlotGroups
from globaltable.server.slot_mover import SlotMover
from globaltable.server.slow_ops import SlowOps
from globaltable.server.starting import Start, begin, begin_joining
from globaltable.server.tls import Certificates, certificates_of
from globaltable.server.topology_changes import TOPOLOGY_GROUP
from globaltable.server.topology_word import decode_word
from globaltable.server.tracing import Tracing, provider_of
from globaltable.server.watches import Watches
from globaltable.server.worker import TableWorker
from globaltable.store import known_topology
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.topology import Node as TopologyNode
from globaltable.topology import Topology
from globaltable.v1 import admin_pb2_grpc
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from globaltable.server.console.console import Console

SERVICE_NAME: Final = "globaltable.v1.GlobalTableService"
TRANSFER_SHARE: Final = 0.25
"""Of the time of the table's thread, what goes into snapshots for and of others."""
CLIENT_PING_MS: Final = 60_000
"""So often a client's connection is tried on which nothing comes ..."""
CLIENT_PONG_MS: Final = 20_000
"""... and closed, with its streams, if no answer comes for so long."""
ASIDE_SHARE: Final = 0.125
"""What goes into backups and checks, for which nobody but an operator waits."""

HANDSHAKE_TIMEOUT_MS: Final = 10_000

_TOPOLOGY_PERIOD_S: Final = 0.1

log = structlog.get_logger(__name__)


class Node:
    """A running node. `start`, then `wait_failed` or `stop`."""

    def __init__(
        self, config: Config, name: str, start: Start, certificates: Certificates | None = None
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._own = config.node(name)
        self._name = name
        self._may_be_needless = start.is_fresh
        topology = start.known.newest
        self._topology = topology
        self._removed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refused_by: set[str] = set()
        """Peers that say this node was removed, and that they count on it for nothing."""
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        directory = self._own.data_dir
        self._lock = start.lock
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
                # However large a flush is, the next one may gather while it is written.
                unflushed_rows=max(ReplicaLimits().unflushed_rows, 4 * config.limits.flush_ops),
            ),
            flush_rows=config.limits.flush_ops,
            flush_interval_s=timeouts.flush_interval_s,
            rng=random.Random(rng.getrandbits(256)),
            now=self._loop.time(),
            founding=start.known.founded,
        )
        since = next(n.since for n in (*topology.nodes, *topology.removed) if n.name == name)
        self._directories = Directories(directory, name, since, start.directory)
        self._links = PeerLinks(
            cluster=config.fence,
            node=self._name,
            incarnation=rng.getrandbits(62),
            plan=topology.plan_digest,
            listen=(self._own.listens_for_peers_on.host, self._own.listens_for_peers_on.port),
            peers={},
            on_payload=self._on_payload,
            on_up=lambda peer: self._on_link(peer, True),
            on_down=lambda peer: self._on_link(peer, False),
            since=since,
            directory=start.directory,
            why_lost=self._meet,
            on_lost=self._on_lost,
            level=lambda: self._live.noted_level,
            on_level=self._on_level,
            on_topology=self._on_topology,
            on_removed=self._on_refused,
            why_removed=self._why_removed,
            buffer_bytes_max=config.limits.peer_buffer_bytes,
            reconnect_min_s=timeouts.reconnect_min_s,
            reconnect_max_s=timeouts.reconnect_max_s,
            random=random.Random(rng.getrandbits(64)),
            certificates=certificates,
        )
        self._claims = SlotClaims()
        self._live = LiveTopology(
            node=name,
            directory=directory,
            known=start.known,
            claims=self._claims,
            directories=self._directories,
            tell=self._links.tell_topology,
            peers=lambda: self._links.connections,
            on_change=self._on_new_topology,
            on_plan=self._on_plan,
            on_lost=self._on_lost,
            protocol_of=self._links.version,
            noted_level=start.noted_level,
        )
        self._links.set_peers(self._peers_of(topology))
        self._want_members()
        watches = Watches(
            self._core.serving, lambda group, error: self._driver.met_damage(group, error)
        )
        self._measures = Measures(time.perf_counter)
        if config.log_slow_op_ms:
            self._measures.listen(SlowOps(self._core, config.log_slow_op_ms / 1000).ended)
        self._driver = Driver(
            core=self._core,
            clock=self._loop,
            send=self._links.send,
            watches=watches,
            on_out_of_service=self._out_of_service,
            on_failure=self._fail,
            on_removed=lambda group: self._reconcile(),
            measures=self._measures,
        )
        self._backend = NodeBackend(
            config, self._name, self._core, self._driver, watches, self._links, self._claims
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
            aside_pace=Pace(ASIDE_SHARE, time.monotonic),
        )
        self._driver.attach(self._persister, self._worker)
        self._groups = SlotGroups(self._core, self._driver, self._loop.time, certificates)
        self._mover = SlotMover(self._core, self._groups, self._loop.time, self._driver.met_damage)
        self._server: grpc.aio.Server | None = None
        self._room = CallRoom(config.limits.calls)
        self._gate = (
            Gate(config, name, certificates, self._why_no_member)
            if certificates is not None or config.security.audits_in_the_clear
            else None
        )
        self._tracing = self._begin_tracing()
        self.requests = Requests(self._measures, lines=config.log_requests, tracing=self._tracing)
        self._service = GlobalTableService(self._backend, self.requests)
        self._admin = AdminService(
            cluster_id=config.cluster_id,
            core=self._core,
            backend=self._backend,
            worker=self._worker,
            store=self._table_store,
            live=self._live,
            steps=self._groups,
            certificates=certificates,
        )
        self._health = Health(self._core, self._measures, (SERVICE_NAME,))
        collector = NodeCollector(
            config=config,
            core=self._core,
            measures=self._measures,
            links=self._links,
            watches=watches,
            live=self._live,
            store=self._table_store,
            health=self._health,
            room=self._room,
        )
        self._listener = Listener(
            self._own.metrics,
            self._loop,
            self._health,
            collector,
            certificates,
            self._gate.why_not if self._gate is not None else lambda shown: "",
        )
        self._console = self._begin_console()
        self._health_task: asyncio.Task[None] | None = None
        self._topology_task: asyncio.Task[None] | None = None
        self._moving_task: asyncio.Task[None] | None = None

    def _begin_tracing(self) -> Tracing | None:
        if not self._config.tracing_exporter:
            return None

        def leader_of(group: int) -> str | None:
            replica = self._core.replicas.get(group)
            return replica.guard.leader if replica is not None else None

        provider = provider_of(self._config.tracing_exporter, self._name, self._own.region)
        tracing = Tracing(provider, self._name, leader_of)
        self._measures.listen(tracing.ended)
        return tracing

    def _begin_console(self) -> "Console | None":
        if self._own.console is None:
            return None
        # What it is made of takes a tenth of a second to load.
        from globaltable.server.console.console import Console

        return Console(
            self._own.console,
            config=self._config,
            core=self._core,
            backend=self._backend,
            live=self._live,
            measures=self._measures,
            service=self._service,
            admin=self._admin,
            gate=self._gate,
            certificates=self._certificates,
        )

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen for peers and clients. Raises `StorageError` or `OSError` if it cannot."""
        for failure in self._core.failures.items():
            log.error("replica out of service", group=failure[0], reason=failure[1])
        self._core.new_failures.clear()
        await self._links.start()
        self._server = grpc.aio.server(
            interceptors=[self._room, *([self._gate] if self._gate is not None else [])],
            maximum_concurrent_rpcs=REFUSALS_PER_CALL * self._config.limits.calls,
            options=[
                ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                # A client whose machine is gone says nothing of it.
                ("grpc.keepalive_time_ms", CLIENT_PING_MS),
                ("grpc.keepalive_timeout_ms", CLIENT_PONG_MS),
                # Who connects and says nothing is not waited for.
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
                *(self._gate.options if self._gate is not None else ()),
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
            ],
        )
        pb_grpc.add_GlobalTableServiceServicer_to_server(self._service, self._server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        names = (SERVICE_NAME, ADMIN_SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        address = str(self._own.listens_for_clients_on)
        try:
            if self._certificates is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, self._certificates.grpc_credentials())
                if self._own.tokens is not None:
                    address = str(self._own.tokens)
                    shown = self._certificates.grpc_credentials(asks=False)
                    self._server.add_secure_port(address, shown)
        except RuntimeError as error:
            raise StorageError(
                f"client address {address} of node {self._name} cannot be listened on; "
                "is another process using it?"
            ) from error
        self._listener.start()
        if self._console is not None:
            await self._console.start()
        await self._server.start()
        if self._gate is not None:
            self._gate.start()
        self._worker.sweep()
        self._health_task = asyncio.create_task(self._health.run())
        self._topology_task = asyncio.create_task(self._watch_topology())
        self._moving_task = asyncio.create_task(self._move_slots())
        self._driver.wake()
        log.info(
            "node started",
            cluster=self._config.cluster,
            node=self._name,
            client=str(self._own.listens_for_clients_on),
            peer=str(self._own.listens_for_peers_on),
            groups=len(self._core.replicas),
            data=str(self._own.data_dir),
            level=self._topology.level,
            pid=os.getpid(),
        )

    def reread(self, load: Callable[[], Config]) -> None:
        """Go by what the file says by now of permissions and allowances; the rest of it is for the
        next start."""
        if self._gate is None or self._certificates is None:
            log.warning("nothing to read again: without TLS there are no permissions")
            return
        try:
            self._gate.permit(load().security)
        except ConfigError as error:
            log.error("the file is not taken up, the earlier permissions stay", reason=str(error))
        else:
            log.info("permissions read again")

    async def wait_failed(self) -> None:
        """Return never; raise what made it impossible to go on."""
        await asyncio.shield(self._failed)

    async def wait_removed(self) -> None:
        """Return once this node has been removed, and nobody counts on it any more."""
        await asyncio.shield(self._removed)

    async def stop(self) -> None:
        """Hand leadership over, finish what is under way, flush, and close."""
        drain_s = self._config.timeouts.drain_s
        log.info("node stopping", node=self._name, drain_s=drain_s)
        for task in (self._health_task, self._topology_task, self._moving_task):
            if task is not None:
                task.cancel()
        await self._groups.close()
        await self._admin.close()
        if self._console is not None:
            await self._console.close()
        await self._health.stop()
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
        while self._core.is_discarding and not self._failed.done() and self._loop.time() < deadline:
            await asyncio.sleep(0.005)
        self._driver.stop()
        while self._persister.turns and not self._failed.done():
            await asyncio.sleep(0.005)
        await self._links.close()
        if not self._failed.done():
            await self._flush()
        tell(self._core.stop())
        if self._gate is not None:
            self._gate.close()
        await self._listener.close()
        if self._tracing is not None:
            await self._loop.run_in_executor(None, self._tracing.close)
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
        return bool(self._links.connections)

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
        if up:
            self._refused_by.discard(peer)
            self._live.introduce(peer)

    # --- the topology ----------------------------------------------------------------------------

    def _peers_of(self, topology: Topology) -> dict[str, Peer]:
        """The other nodes; and those removed, while a group here counts on them, or may: one that
        is on its way is not always known here by its members."""
        counted = {
            name
            for replica in self._core.replicas.values()
            if replica.members is not None
            for name in replica.members.names
        }
        if self._live.unsettled:
            counted.update(name for group in topology.before for name in group.holders)
        leaving = [node for node in topology.removed if node.name in counted]
        return {
            node.name: self._peer(node)
            for node in (*topology.nodes, *leaving)
            if node.name != self._name
        }

    def _peer(self, node: TopologyNode) -> Peer:
        address = Address.parse(node.peer, f"peer address of node {node.name}")
        injected = self._config.injected_latency
        delay_s = injected.one_way_s(self._own.region, node.region) if injected else 0.0
        return Peer(address.host, address.port, delay_s, node.since)

    def _why_removed(self, name: str, since: int) -> str:
        """Asked of who calls: whether it was removed, and nothing here counts on it any more."""
        newest = self._live.newest
        gone = next((node for node in newest.removed if node.name == name), None)
        present = newest.node_by_name.get(name)
        if present is not None:
            namesake = 0 <= since < present.since
            if not namesake:
                return ""
            return f"the node that is named {name} now was added in version {present.since}"
        if gone is None or name in self._peers_of(newest):
            return ""
        return f"node {name} is no part of version {newest.version} of the topology"

    def _why_no_member(self, name: str) -> str:
        """Asked of who shows a node's certificate, which has no word of which node of that name."""
        newest = self._live.newest
        if name in newest.node_by_name or name in self._peers_of(newest):
            return ""
        return f"node {name} is no part of version {newest.version} of the topology"

    def _on_topology(self, peer: str, body: bytes) -> None:
        try:
            version = decode_word(body).version
            if self._may_be_needless and version > 0:
                # Who founds a cluster that exists would vote against the word of who was here.
                raise ConfigError(
                    f"the cluster is at version {version} of its topology, and the data directory "
                    f"{self._own.data_dir} was empty at start: if {self._name} was added, delete "
                    "the directory and start it with --join; if it has lost its disk, run "
                    "`globaltable rebuild --all` first"
                )
            self._may_be_needless = False
            self._live.hear(peer, body)
        except ConfigError as error:
            known_topology.forget(self._own.data_dir)
            self._fail(error)
        except StorageError as error:
            self._fail(error)

    def _meet(self, shown: Shown) -> str:
        """Asked in the handshake: why a peer is refused that shows this of itself."""
        known = self._directories.met
        try:
            reason = self._directories.meet(shown)
        except StorageError as error:
            self._fail(error)
            raise ProtocolError("this node fails") from error
        if self._directories.met is not known:
            # Who has never met it knows of it by this.
            self._loop.call_soon(self._live.tell_all)
        return reason

    def _on_lost(self, reason: str) -> None:
        """This node's disk was lost, it is told: it must not go on as if it never had served."""
        self._fail(ConfigError(reason))

    def _on_level(self, reason: str) -> None:
        """The cluster goes by a level that this release does not understand."""
        self._fail(ConfigError(reason))

    def _on_plan(self, peer: str, plan: int) -> None:
        before = self._links.has_same_plan(peer)
        self._links.peer_plans(peer, plan)
        if self._links.connected(peer) and self._links.has_same_plan(peer) != before:
            self._core.set_connected(peer, True, same_plan=self._links.has_same_plan(peer))
            self._driver.wake()

    def _on_new_topology(self, before: Topology, topology: Topology) -> None:
        log.info("topology", version=topology.version, before=before.version)
        self._topology = self._core.topology = topology
        self._links.set_plan(topology.plan_digest)
        for peer in self._links.connections:
            # Until it says that it has the same.
            self._core.set_connected(peer, True, same_plan=self._links.has_same_plan(peer))
        self._reconcile()
        self._want_members()
        self._driver.wake()

    def _want_members(self) -> None:
        """What each group's leader, if it is here, is to bring about. As long as the topology is
        the founders' there is nothing to: files differ while one is changed on node after node."""
        topology = self._live.newest
        for group in topology.groups:
            wanted = Members(group.replicas, group.learners) if topology.version else None
            self._core.set_wanted(group.number, wanted, topology.preferred(group))

    def _reconcile(self) -> None:
        """Replicas that are to come, and those that may go; who the peers are."""
        core, topology = self._core, self._live.newest
        for group in topology.groups:
            number = group.number
            replica = core.replicas.get(number)
            if self._name in group.holders:
                if replica is None and number not in core.failures:
                    founders = self._live.founders_of(number)
                    log.info("replica joins" if founders is None else "group founded", group=number)
                    core.add_replica(group, founders)
                    self._want_members()
            elif replica is not None and (replica.is_removed or replica.is_joining):
                log.info("replica discarded", group=number)
                core.remove_replica(number)
        self._links.set_peers(self._peers_of(topology))
        self._driver.wake()
        self._look_whether_removed()

    def _look_whether_removed(self) -> None:
        topology = self._live.newest
        if self._removed.done() or self._name in topology.node_by_name:
            return
        waiting = [
            number
            for number, replica in self._core.replicas.items()
            if not self._is_given_up(replica)
        ]
        if not waiting and not self._core.is_discarding:
            log.warning(
                "this node was removed from the cluster: it stops, and its data directory may be "
                "deleted",
                node=self._name,
                version=topology.version,
            )
            self._removed.set_result(None)

    def _is_given_up(self, replica: Replica) -> bool:
        """Whether its group goes on without it, by its own log or by the word of a majority."""
        if replica.is_removed or replica.is_joining or replica.members is None:
            return True
        voters = replica.members.voters
        return 2 * len(self._refused_by.intersection(voters)) > len(voters)

    def _on_refused(self, peer: str, reason: str) -> None:
        """For good: nothing there counts on this node."""
        self._refused_by.add(peer)
        replicas = self._core.replicas.values()
        if self._removed.done() or not all(self._is_given_up(replica) for replica in replicas):
            return
        others = [node.name for node in self._live.newest.nodes if node.name != self._name]
        if replicas or 2 * len(self._refused_by.intersection(others)) > len(others):
            log.warning(
                "this node was removed from the cluster while it was away: it stops, and its data "
                "directory may be deleted",
                node=self._name,
                reason=reason,
            )
            self._removed.set_result(None)

    async def _watch_topology(self) -> None:
        """What stands in the binding, and which groups have got there, looked at now and then."""
        try:
            while True:
                self._read_topology()
                core = self._core
                done = [n for n, r in core.replicas.items() if r.is_leader and r.is_as_wanted]
                if self._live.newest.version:
                    self._live.settle(done)
                self._reconcile()
                self._claims.look(core.routes)
                self._live.tell_claims()
                await asyncio.sleep(_TOPOLOGY_PERIOD_S)
        except (ProtocolError, StorageError) as error:
            self._fail(error)

    async def _move_slots(self) -> None:
        try:
            await self._mover.run()
        except Exception as error:
            self._fail(error)

    def _read_topology(self) -> None:
        if self._core.refusal(TOPOLOGY_GROUP):
            return
        binding = self._core.replicas[TOPOLOGY_GROUP].table.get(TOPOLOGY_NAME)
        if binding is not None and binding.version > self._live.newest.version:
            self._live.read(binding.unit)
        # A replica that serves has applied what was decided before it began (`raft.recovery`).
        self._live.is_current()

    def _out_of_service(self, failure: ReplicaFailure) -> None:
        log.error("replica out of service", group=failure.group, reason=failure.reason)


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
